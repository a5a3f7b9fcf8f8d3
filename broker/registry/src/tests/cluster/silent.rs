//! What is left of a server, or of one attempt to start it, is waited for before the next one, and before anybody else's.

use super::{
    super::doubles::{SILENT, SLOW},
    *,
};

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
    assert_eq!(seen.most_processes, 1);
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
    assert_eq!(seen.most_processes, 1);
    // Without the time to wait for it, the lease is left to run out.
    b.handle.shutdown(Duration::ZERO).await;
    assert!(cluster.leases.watch().borrow().contains_key("place.fs.0"));
    a.stop().await;
}

#[tokio::test]
async fn a_server_that_is_replaced_starts_when_the_one_before_has_ended() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![]).await;
    let here = spec("fs", SLOW);
    let anywhere = ServerSpec { placement: Placement::Any, ..here.clone() };
    let changes = [here.clone(), here.clone(), anywhere.clone(), here];
    for (number, spec) in changes.into_iter().enumerate() {
        a.handle.add(spec, None, true).await.unwrap();
        a.ready("fs").await;
        cluster.until("started", |seen| seen.starts > number).await;
    }
    // Two changes at once: whoever came between has nothing to end, and nobody overtakes it.
    for _ in 0..2 {
        a.handle.add(anywhere.clone(), None, true).await.unwrap();
        a.handle.add(spec("fs", SLOW), None, true).await.unwrap();
    }
    let starts = cluster.seen.borrow().starts;
    a.handle.add(spec("fs", SLOW), None, true).await.unwrap();
    cluster.until("started", |seen| seen.starts > starts).await;
    a.stop().await;
    let seen = cluster.until("ended", |seen| seen.processes["fs"] == 0).await;
    assert_eq!(seen.most_processes, 1);
    until(&mut cluster.leases.watch(), "given back", |holdings| holdings.is_empty()).await;
}

#[tokio::test]
async fn nothing_is_started_under_a_lease_that_is_over() {
    let cluster = Cluster::new();
    cluster.leases.comes_late.store(true, Ordering::SeqCst);
    let a = cluster.start("a", vec![any("fs", 1)]).await;
    let was_given_back =
        |holdings: &Arc<spanwire_model::Holdings>| holdings.get("place.fs.0").is_some_and(|holding| holding.token > 3);
    until(&mut cluster.leases.watch(), "taken and given back", was_given_back).await;
    assert_eq!(cluster.seen.borrow().starts, 0);
    cluster.leases.comes_late.store(false, Ordering::SeqCst);
    cluster.runs("fs", &["a"]).await;
    a.stop().await;
}
