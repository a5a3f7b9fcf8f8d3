//! What has the id of a part of the broker, and was there before that had it.

use super::*;

fn reserve(config: &mut Config) {
    config.reserved = [id("context")].into();
}

#[tokio::test]
async fn what_has_the_id_of_a_part_of_the_broker_is_not_run_and_says_so() {
    let cluster = Cluster::new();
    let old = cluster.start("old", vec![]).await;
    old.handle.add(any("context", 1), None, false).await.unwrap();
    cluster.runs("context", &["old"]).await;
    old.stop().await;
    let starts = cluster.seen.borrow().starts;

    // Its part is off here, and the id is taken all the same; what the store of an older version has is no better.
    let store = Arc::new(MemoryStore::default());
    let kept = serde_json::to_vec(&spec("context", "kept")).unwrap();
    store.apply(vec![Write::Put { key: b"server/context".to_vec(), value: kept }]).await.unwrap();
    let new = cluster.start_as("new", reserve, vec![any("fs", 1)], store, true).await;
    cluster.runs("fs", &["new"]).await;
    let seen = cluster.seen.borrow().clone();
    assert_eq!((seen.starts, seen.running.len()), (starts + 1, 1), "{seen:?}");
    let wanted = new.wanted();
    let record = wanted.iter().find(|wanted| wanted.id == id("context")).unwrap();
    assert_eq!(
        record.problem.as_deref(),
        Some("is not run: its id belongs to the broker itself by now; remove it, and add it with another one")
    );
    // As it says.
    assert!(new.handle.remove(&id("context")).await.unwrap());
    new.until("removed", |inventory| inventory.wanted.len() == 1).await;
    new.stop().await;
}
