//! What both implementations promise.

use futures::future::join_all;
use spanwire_model::ErrorKind;
use tokio::time::Instant;

use super::fixture::{Fixture, LONG, SHORT, seen, take, take_soon, within};

pub(super) async fn one_has_it_until_it_is_given_back(fixture: &Fixture) {
    let lease = take(&*fixture.a, "duty", LONG).await;
    assert_eq!(lease.name(), "duty");
    assert!(lease.is_valid() && lease.fence().is_valid());
    for other in [&fixture.a, &fixture.b] {
        assert!(other.acquire("duty", LONG).await.unwrap().is_none());
    }
    assert!(lease.is_valid());
    lease.release(LONG).await;
    let next = take(&*fixture.b, "duty", LONG).await;
    assert!(next.is_valid());
}

pub(super) async fn a_dropped_lease_is_given_back(fixture: &Fixture) {
    drop(take(&*fixture.a, "duty", LONG).await);
    let _next = take_soon(&*fixture.b, "duty", LONG).await;
}

pub(super) async fn a_lease_given_back_is_not_valid(fixture: &Fixture) {
    let lease = take(&*fixture.a, "duty", LONG).await;
    let fence = lease.fence();
    let waiting = tokio::spawn({
        let fence = fence.clone();
        async move { fence.lost().await }
    });
    lease.release(LONG).await;
    within(waiting).await.unwrap();
    assert!(!fence.is_valid());
    within(fence.lost()).await;
}

pub(super) async fn a_lease_that_is_left_to_run_out_is_nobodys_until_its_time_is_over(fixture: &Fixture) {
    let began = Instant::now();
    let lease = take(&*fixture.a, "duty", SHORT).await;
    let fence = lease.fence();
    lease.lapse();
    assert!(!fence.is_valid(), "it is over for its holder at once");
    let _next = take_soon(&*fixture.b, "duty", SHORT).await;
    assert!(began.elapsed() >= SHORT, "given back after {:?}", began.elapsed());
}

pub(super) async fn of_many_takers_one_wins(fixture: &Fixture) {
    for round in 0..5 {
        let name = format!("race.{round}");
        let takers = (0..16).map(|n| {
            let leases = if n % 2 == 0 { &fixture.a } else { &fixture.b };
            leases.acquire(&name, LONG)
        });
        let outcomes = join_all(takers).await;
        let won: Vec<_> = outcomes.into_iter().filter_map(|outcome| outcome.unwrap()).collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
    }
}

pub(super) async fn tokens_grow(fixture: &Fixture) {
    let mut last = 0;
    for round in 0..6 {
        let leases = if round % 2 == 0 { &fixture.a } else { &fixture.b };
        let lease = take(&**leases, "duty", LONG).await;
        assert!(lease.token() > last, "round {round}");
        last = lease.token();
        lease.release(LONG).await;
    }
}

pub(super) async fn names_do_not_touch_each_other(fixture: &Fixture) {
    let duty = take(&*fixture.a, "duty", LONG).await;
    let _fs = take(&*fixture.b, "place.fs.0", LONG).await;
    let place = take(&*fixture.b, "place.fs.1", LONG).await;
    place.release(LONG).await;
    assert!(duty.is_valid());
    assert!(fixture.a.acquire("place.fs.0", LONG).await.unwrap().is_none());
    let _again = take(&*fixture.a, "place.fs.1", LONG).await;
}

pub(super) async fn everybody_sees_who_has_what(fixture: &Fixture) {
    let mut leases = Vec::new();
    for name in ["duty", "place.fs.0", "place.fs.1"] {
        leases.push(take(&*fixture.a, name, LONG).await);
    }
    for handle in [&fixture.a, &fixture.b] {
        let all = seen(&**handle, |holdings| holdings.len() == 3).await;
        for lease in &leases {
            let holding = all.get(lease.name()).unwrap();
            assert_eq!((holding.node.as_str(), holding.token), ("a", lease.token()));
        }
    }
    leases.pop().unwrap().release(LONG).await;
    for handle in [&fixture.a, &fixture.b] {
        let left = seen(&**handle, |holdings| holdings.len() == 2).await;
        assert!(!left.contains_key("place.fs.1"));
    }
}

pub(super) async fn nonsense_is_refused(fixture: &Fixture) {
    for (name, ttl) in [("", LONG), ("a..b", LONG), ("a.>", LONG), ("a b", LONG), ("duty", LONG / 60)] {
        let error = fixture.a.acquire(name, ttl).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{name}: {error}");
    }
}
