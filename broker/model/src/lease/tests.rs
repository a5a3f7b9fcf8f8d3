use super::*;

/// Another one.
static SLEPT_TOO_MS: AtomicU64 = AtomicU64::new(0);

fn slept_too() -> Duration {
    Duration::from_millis(SLEPT_TOO_MS.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_loss_of_a_lease_hears_of_a_sleep() {
    let hour = Duration::from_secs(3600);
    let (lease, keeper) = Lease::with_clock("place.fs.0".into(), 1, Instant::now() + hour, slept_too);
    let began = Instant::now();
    let waiting = async {
        let lost = lease.lost();
        tokio::pin!(lost);
        assert!(futures::poll!(&mut lost).is_pending());
        SLEPT_TOO_MS.store(3_600_000, Ordering::SeqCst);
        lost.await;
    };
    waiting.await;
    assert!(began.elapsed() <= LOOK_EVERY, "{:?}", began.elapsed());
    drop(keeper);
    // Without a keeper too it is valid until its time is over.
    let (lease, keeper) = Lease::new("place.fs.1", 1, Instant::now() + Duration::from_secs(10));
    drop(keeper);
    let began = Instant::now();
    lease.lost().await;
    assert!(began.elapsed() >= Duration::from_secs(9));
}

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
