//! Two handles on the same leases, on either implementation.

use std::{sync::Arc, time::Duration};

use spanwire_ledger::{JetStreamLeases, JetStreamLeasesConfig, MemoryLeases};
use spanwire_model::{Holdings, Lease, Leases};
use spanwire_nats::Config;
use spanwire_tests::nats::NatsServer;
use tokio::time::{sleep, timeout};

/// Longest a test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(100);
/// A time to live that no test waits for.
pub(super) const LONG: Duration = Duration::from_secs(60);
/// The shortest time to live.
pub(super) const SHORT: Duration = Duration::from_secs(3);

pub(super) struct Fixture {
    pub(super) a: Arc<dyn Leases>,
    /// Another node, where there can be one.
    pub(super) b: Arc<dyn Leases>,
    _server: Option<NatsServer>,
}

impl Fixture {
    pub(super) fn memory() -> Self {
        let leases = Arc::new(MemoryLeases::new("a".parse().unwrap()));
        Self { a: leases.clone(), b: leases, _server: None }
    }

    pub(super) async fn jetstream() -> Self {
        let server = NatsServer::start_jetstream().await.unwrap();
        let (a, b) = (Arc::new(leases(&server.url(), "a").await), Arc::new(leases(&server.url(), "b").await));
        Self { a, b, _server: Some(server) }
    }
}

/// The leases of a node of the tenant `t`.
pub(super) async fn leases(url: &str, node: &str) -> JetStreamLeases {
    leases_of(config(url, node)).await
}

pub(super) fn config(url: &str, node: &str) -> Config {
    Config::new([url], "t".parse().unwrap(), node.parse().unwrap())
}

pub(super) async fn leases_of(nats: Config) -> JetStreamLeases {
    let connection = spanwire_nats::connect(&nats).await.unwrap();
    JetStreamLeases::start(connection, &JetStreamLeasesConfig { nats, replicas: None })
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, Box::pin(future)).await.expect("took too long")
}

/// Takes a lease that is free.
pub(super) async fn take(leases: &dyn Leases, name: &str, ttl: Duration) -> Lease {
    leases.acquire(name, ttl).await.unwrap().unwrap_or_else(|| panic!("{name} is not free"))
}

/// Takes a lease as soon as it is free.
pub(super) async fn take_soon(leases: &dyn Leases, name: &str, ttl: Duration) -> Lease {
    within(async {
        loop {
            if let Ok(Some(lease)) = leases.acquire(name, ttl).await {
                return lease;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// Waits until what is seen is so.
pub(super) async fn seen(leases: &dyn Leases, is_so: impl Fn(&Holdings) -> bool) -> Arc<Holdings> {
    let mut watch = leases.watch();
    within(async move { watch.wait_for(|holdings| is_so(holdings)).await.unwrap().clone() }).await
}
