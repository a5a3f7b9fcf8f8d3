#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_model::{Store, StoreError, Write};

use super::MemoryStore;

fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.into(), value: value.into() }
}

async fn contract(store: &dyn Store) {
    store.apply(vec![put("a/1", "x"), put("a/2", "y"), put("b/1", "z")]).await.unwrap();
    store
        .apply(vec![put("a/1", "w"), Write::Delete { key: "a/2".into() }, Write::Delete { key: "a/9".into() }])
        .await
        .unwrap();
    assert_eq!(store.get(b"a/1").unwrap().as_deref(), Some(&b"w"[..]));
    assert_eq!(store.get(b"a/2").unwrap(), None);
    assert_eq!(store.scan(b"a/").unwrap(), [(b"a/1".to_vec(), b"w".to_vec())]);
    assert_eq!(store.scan(b"").unwrap().len(), 2);
    let huge = Write::Put { key: "h".into(), value: vec![0; 65 * 1024] };
    assert!(matches!(store.apply(vec![put("n", "n"), huge]).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.get(b"n").unwrap(), None, "all or nothing");
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract(&MemoryStore::default()).await;
}
