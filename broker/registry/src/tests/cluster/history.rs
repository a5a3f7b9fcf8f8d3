//! What nodes read of the registry has a history: its view is made anew, the node had another name, an older version kept it elsewhere.

use super::*;

impl Node {
    /// Waits until the node has read the registry again.
    async fn has_read(&self, before: u64) {
        self.until("read again", |inventory| inventory.version > before).await;
    }
}

#[tokio::test]
async fn what_runs_goes_on_while_the_view_is_made_anew() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![]).await;
    a.handle.add(spec("fs", "x"), None, false).await.unwrap();
    a.handle.add(any("all", 1), None, false).await.unwrap();
    a.ready("fs").await;
    a.ready("all").await;
    let before = cluster.seen.borrow().clone();

    let version = a.handle.inventory().version;
    let view = cluster.log.clear();
    a.has_read(version).await;
    assert_eq!(a.wanted().len(), 2);
    assert_eq!(*cluster.seen.borrow(), before);
    let version = a.handle.inventory().version;
    cluster.log.install(view);
    a.has_read(version).await;
    assert_eq!(a.wanted().len(), 2);
    assert_eq!(*cluster.seen.borrow(), before, "nothing was stopped or started");

    // A log that went back counts as soon as the view follows it, also when nothing tells of that.
    let version = a.handle.inventory().version;
    cluster.log.clear();
    a.has_read(version).await;
    cluster.log.follow();
    cluster.until("stopped", |seen| seen.running.is_empty()).await;
    a.until("forgotten", |inventory| inventory.wanted.is_empty()).await;
    a.stop().await;
}

#[tokio::test]
async fn a_registry_of_one_node_alone_is_its_own_whatever_the_node_is_called() {
    let cluster = Cluster::new();
    let before = cluster.start("before", vec![]).await;
    before.handle.add(spec("fs", "x"), None, false).await.unwrap();
    before.ready("fs").await;
    before.stop().await;
    let store = Arc::new(MemoryStore::default());
    let after = cluster.start_as("after", |config| config.owns_all = true, vec![], store, true).await;
    after.ready("fs").await;
    assert_eq!(after.wanted()[0].home, Some("after".parse().unwrap()));
    let refused = after.handle.add(spec("other", "x"), Some("before".parse().unwrap()), false).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidParams);
    assert!(refused.public.contains("\"before\" would not see it"), "{refused}");
    after.stop().await;
}

#[tokio::test]
async fn what_was_removed_before_it_went_into_the_registry_stays_removed() {
    let cluster = Cluster::new();
    let store = Arc::new(MemoryStore::default());
    let old = |spec: &ServerSpec| {
        let key = format!("server/{}", spec.id).into_bytes();
        Write::Put { key, value: serde_json::to_vec(spec).unwrap() }
    };
    store.apply(vec![old(&spec("fs", "old")), old(&spec("last", "old"))]).await.unwrap();
    let a = cluster.start_with("a", vec![], store.clone(), false).await;
    cluster.until("started", |seen| seen.running.len() == 2).await;
    store.apply(vec![Write::Delete { key: b"server/fs".to_vec() }]).await.unwrap();
    a.ledger.connected.store(true, Ordering::SeqCst);
    // They go one after the other.
    a.until("registered", |inventory| inventory.wanted.iter().any(|wanted| wanted.id.as_str() == "last")).await;
    assert_eq!(a.wanted().len(), 1);
    assert_eq!(cluster.log.len(), 1);
    a.stop().await;
}
