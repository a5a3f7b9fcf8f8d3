//! Servers that start and never answer: what is left of one attempt is waited for before the next one, and before anybody else's.

use super::{super::doubles::SILENT, *};

/// Gives up soon, and tries again at once.
fn impatient(config: &mut Config) {
    config.connect_timeout = Duration::from_millis(5);
    (config.backoff_min, config.backoff_max) = (Duration::from_millis(1), Duration::from_millis(2));
}

#[tokio::test]
async fn an_attempt_that_was_given_up_is_over_before_the_next_one_begins() {
    let cluster = Cluster::new();
    let a = cluster.start_as("a", impatient, vec![spec("fs", SILENT)], Arc::default(), true).await;
    let seen = cluster.until("tried again", |seen| seen.starts >= 4).await;
    assert_eq!(seen.most_silent, 1);
    a.stop().await;
}

#[tokio::test]
async fn a_lease_is_given_back_when_nothing_is_left_of_its_server() {
    let cluster = Cluster::new();
    let fs = ServerSpec { placement: Placement::Any, ..spec("fs", SILENT) };
    let start = async |id: &str| cluster.start_as(id, |_| {}, vec![fs.clone()], Arc::default(), true).await;
    let a = start("a").await;
    cluster.until("started", |seen| seen.starts == 1).await;
    let b = start("b").await;
    a.handle.hand_over(PATIENCE).await;
    let seen = cluster.until("started on b", |seen| seen.starts == 2).await;
    assert_eq!(seen.most_silent, 1);
    // Without the time to wait for it, the lease is left to run out.
    b.handle.shutdown(Duration::ZERO).await;
    assert!(cluster.leases.watch().borrow().contains_key("place.fs.0"));
    a.stop().await;
}
