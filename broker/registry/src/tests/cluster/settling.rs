//! Leases are taken by nodes that know of each other.

use super::*;

const SETTLE: Duration = Duration::from_millis(1500);

#[tokio::test(start_paused = true)]
async fn a_node_takes_leases_only_when_it_had_time_to_hear_of_the_others() {
    let cluster = Cluster::new();
    let cut_off = |is_cut_off| cluster.bus.is_cut_off.store(is_cut_off, Ordering::SeqCst);
    cut_off(true);
    let set = |config: &mut Config| (config.heartbeat, config.settle) = (Duration::from_secs(1), SETTLE);
    let a = cluster.start_as("a", set, vec![any("fs", 1)], Arc::default(), true).await;
    for starts in 0..2 {
        // However long that lasts: the clock of this test runs as fast as nothing is left to do.
        tokio::time::sleep(100 * SETTLE).await;
        assert_eq!(cluster.seen.borrow().starts, starts, "nobody was heard yet");
        let since = Instant::now();
        cut_off(false);
        cluster.until("started", |seen| seen.starts == starts + 1).await;
        assert!(since.elapsed() >= SETTLE, "{:?}", since.elapsed());
        // Without its connection again, it loses what it has.
        cut_off(true);
        tokio::time::sleep(SETTLE).await;
        cluster.leases.lose("place.fs.0");
        cluster.runs("fs", &[]).await;
    }
    a.stop().await;
}
