#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use spanwire_model::{Store, StoreError, Write};

use super::SledStore;

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
async fn sled_keeps_the_contract_and_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path()).unwrap();
    contract(&store).await;
    assert!(SledStore::open(folder.path()).is_err(), "one process at a time");
    drop(store);
    // The writer thread gives the file up a moment after the store is dropped.
    let reopened = loop {
        match SledStore::open(folder.path()) {
            Ok(store) => break store,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(reopened.get(b"a/1").unwrap().as_deref(), Some(&b"w"[..]));
}

#[tokio::test]
async fn a_stale_snapshot_does_not_keep_the_store_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("snap.FF..generating"), b"").unwrap();
    SledStore::open(folder.path()).unwrap().apply(vec![put("k", "v")]).await.unwrap();
}

#[tokio::test]
async fn concurrent_writes_are_all_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SledStore::open(folder.path()).unwrap());
    let writes = (0..200).map(|index| {
        let store = store.clone();
        tokio::spawn(async move { store.apply(vec![put(&format!("k/{index:03}"), "v")]).await })
    });
    for write in futures::future::join_all(writes).await {
        write.unwrap().unwrap();
    }
    assert_eq!(store.scan(b"k/").unwrap().len(), 200);
}
