//! What only a network can do to a lease: holders that are cut off or paused, servers that die.

use std::{sync::mpsc, thread};

use spanwire_model::{ErrorKind, Leases};
use spanwire_tests::nats::{NatsServer, Proxy};
use tokio::time::timeout;

use super::fixture::{LONG, SHORT, config, leases, leases_of, seen, take, take_soon, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_for_as_long_as_it_is_held() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let (a, b) = (leases(&server.url(), "a").await, leases(&server.url(), "b").await);
    let lease = take(&a, "duty", SHORT).await;
    // Much longer than its time to live; nobody else ever gets it.
    let taken = timeout(4 * SHORT, take_soon(&b, "duty", SHORT)).await;
    assert!(taken.is_err() && lease.is_valid());
    let holdings = seen(&b, |holdings| holdings.len() == 1).await;
    assert_eq!(holdings["duty"].token, lease.token(), "renewals do not change the token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_cut_off_stops_before_the_next_one_begins() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let (a, b) = (leases(&proxy.url(), "a").await, leases(&server.url(), "b").await);
    let lease = take(&a, "duty", SHORT).await;
    let fence = lease.fence();
    seen(&b, |holdings| holdings.contains_key("duty")).await;
    proxy.cut();
    let next = take_soon(&b, "duty", LONG).await;
    assert!(!fence.is_valid(), "two have it");
    assert!(next.token() > lease.token());
    within(lease.lost()).await;
    seen(&b, |holdings| holdings.get("duty").is_some_and(|holding| holding.node.as_str() == "b")).await;
    // It is lost for good, also when the network is back.
    proxy.mend();
    seen(&a, |holdings| holdings.get("duty").is_some_and(|holding| holding.node.as_str() == "b")).await;
    assert!(!lease.is_valid() && next.is_valid());
    assert!(a.acquire("duty", SHORT).await.unwrap().is_none());
    // And giving it back does not end the lease of the other one.
    lease.release(SHORT).await;
    assert!(a.acquire("duty", SHORT).await.unwrap().is_none());
}

/// The client's own key-value store takes an expired key without a time to live: such a lease would never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_taken_after_another_has_expired_expires_too() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let mut last = 0;
    // The first one on a fresh name, the others on top of the marker of the one before.
    for node in ["a", "b", "c"] {
        let proxy = Proxy::start(server.address()).await.unwrap();
        let holder = leases(&proxy.url(), node).await;
        let lease = take_soon(&holder, "duty", SHORT).await;
        assert!(lease.token() > last, "{node}");
        last = lease.token();
        proxy.cut();
        within(lease.lost()).await;
    }
    let next = take_soon(&leases(&server.url(), "d").await, "duty", LONG).await;
    assert!(next.token() > last);
}

#[test]
fn a_paused_holder_is_not_valid_when_another_begins() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = NatsServer::start_jetstream().await.unwrap();
        let url = server.url();
        let (taken, fences) = mpsc::channel();
        let (resume, paused) = mpsc::channel::<()>();
        // A process of its own, as far as renewals go: one thread, which stands still.
        let holder = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let a = leases(&url, "a").await;
                let lease = take(&a, "duty", SHORT).await;
                taken.send(lease.fence()).unwrap();
                paused.recv().unwrap();
                assert!(!lease.is_valid(), "it says so at once, before anything else could run");
                within(lease.lost()).await;
                lease.token()
            })
        });
        let fence = fences.recv().unwrap();
        let b = leases(&server.url(), "b").await;
        let next = take_soon(&b, "duty", LONG).await;
        assert!(!fence.is_valid(), "two have it");
        resume.send(()).unwrap();
        let token = holder.join().unwrap();
        assert!(next.is_valid() && next.token() > token);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_survives_a_restart_of_the_server() {
    let mut server = NatsServer::start_jetstream().await.unwrap();
    let (a, b) = (leases(&server.url(), "a").await, leases(&server.url(), "b").await);
    let gone = take(&a, "place.fs.0", SHORT).await;
    let kept = take(&a, "place.fs.1", LONG).await;
    seen(&b, |holdings| holdings.len() == 2).await;
    server.kill();
    within(gone.lost()).await;
    assert_eq!(b.watch().borrow().len(), 2, "while they are out of reach it is as it was");
    server.restart().await.unwrap();
    seen(&b, |holdings| !holdings.contains_key("place.fs.0")).await;
    assert!(kept.is_valid());
    let duty = take_soon(&a, "duty", LONG).await;
    let all = seen(&b, |holdings| holdings.contains_key("duty")).await;
    assert_eq!((all["duty"].token, all["place.fs.1"].token), (duty.token(), kept.token()));
    kept.release(LONG).await;
    seen(&b, |holdings| !holdings.contains_key("place.fs.1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_nothing_is_taken_and_leases_end() {
    let mut server = NatsServer::start_jetstream().await.unwrap();
    let a = leases(&server.url(), "a").await;
    let lease = take(&a, "duty", SHORT).await;
    server.kill();
    let error = within(a.acquire("place.fs.0", SHORT)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    within(lease.lost()).await;
    assert!(!lease.is_valid());
    within(lease.release(LONG)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_begin_without_a_server_and_without_jetstream() {
    let mut server = NatsServer::start_jetstream().await.unwrap();
    server.kill();
    let mut background = config(&server.url(), "a");
    background.connect_in_background = true;
    let a = leases_of(background).await;
    assert_eq!(a.acquire("duty", LONG).await.unwrap_err().kind, ErrorKind::Unavailable);
    server.restart().await.unwrap();
    let _duty = take_soon(&a, "duty", LONG).await;
    seen(&a, |holdings| holdings.contains_key("duty")).await;

    let plain = NatsServer::start().await.unwrap();
    let b = leases(&plain.url(), "b").await;
    let error = within(b.acquire("duty", LONG)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_have_leases_of_their_own() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let a = leases(&server.url(), "a").await;
    let mut other = config(&server.url(), "a");
    other.tenant = "u".parse().unwrap();
    let stranger = leases_of(other).await;
    let _mine = take(&a, "duty", LONG).await;
    let _theirs = take(&stranger, "duty", LONG).await;
    // Nothing of the other tenant was ever there: a change that both see follows.
    let _last = take(&a, "place.fs.0", LONG).await;
    let all = seen(&a, |holdings| holdings.contains_key("place.fs.0")).await;
    assert_eq!(all.len(), 2);
    assert_eq!(seen(&stranger, |holdings| !holdings.is_empty()).await.len(), 1);
}
