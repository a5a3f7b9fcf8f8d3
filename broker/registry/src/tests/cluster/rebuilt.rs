//! The registry's view is made anew while its servers run.

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
