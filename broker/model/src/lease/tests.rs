use super::*;

/// The clock of a machine that sleeps when the test says so, in milliseconds.
static SLEPT_MS: AtomicU64 = AtomicU64::new(5_000);

fn slept() -> Duration {
    Duration::from_millis(SLEPT_MS.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_longer_than_its_lease_has_lost_it() {
    let ttl = Duration::from_secs(10);
    let (lease, keeper) = Lease::with_clock("place.fs.0".into(), 1, Instant::now() + ttl, slept);
    assert!(lease.is_valid());
    SLEPT_MS.fetch_add(9_000, Ordering::SeqCst);
    assert!(lease.is_valid());
    assert_eq!(lease.fence().valid_until(), Instant::now() + Duration::from_secs(1));
    SLEPT_MS.fetch_add(1_000, Ordering::SeqCst);
    assert!(!lease.is_valid() && lease.fence().valid_until() <= Instant::now());
    // A renewal that was sent after it has woken up is as good as any.
    keeper.valid_until.send_replace(Instant::now() + ttl);
    assert!(!lease.is_valid(), "it is not known yet when it was sent");
    keeper.awake.since(slept());
    assert!(lease.is_valid());
}

#[test]
fn sleep_is_counted_by_the_system() {
    let before = suspended();
    assert!(suspended() < before + Duration::from_secs(3600));
}
