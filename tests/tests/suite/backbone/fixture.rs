//! Three connected nodes of one tenant and one of another, on either implementation.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use spanwire_backbone::{memory, nats};
use spanwire_model::{Backbone, BusRequest, NodeId, ServerId, Tenant};
use spanwire_tests::nats::NatsServer;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// Longest a test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The window of every node here.
pub(super) const WINDOW: usize = 64;
/// The size limit of every node here.
pub(super) const MAX_MESSAGE_BYTES: usize = 16 << 20;

pub(super) struct Fixture {
    pub(super) a: Arc<dyn Backbone>,
    pub(super) b: Arc<dyn Backbone>,
    pub(super) c: Arc<dyn Backbone>,
    /// A node of another tenant with the same id as `a`.
    pub(super) stranger: Arc<dyn Backbone>,
    _server: Option<NatsServer>,
}

impl Fixture {
    pub(super) fn memory() -> Self {
        let hub = memory::Hub::new(memory::Config::default());
        let node = |id: &str, tenant: &str| hub.node(node_id(id), tenant.parse().unwrap());
        Self { a: node("a", "t"), b: node("b", "t"), c: node("c", "t"), stranger: node("a", "u"), _server: None }
    }

    pub(super) async fn nats() -> Self {
        let server = NatsServer::start().await.unwrap();
        let node = async |id: &str, tenant: &str| {
            let node = nats::Nats::connect(config(&server.url(), id, tenant)).await.unwrap();
            let node: Arc<dyn Backbone> = Arc::new(node);
            node
        };
        Self {
            a: node("a", "t").await,
            b: node("b", "t").await,
            c: node("c", "t").await,
            stranger: node("a", "u").await,
            _server: Some(server),
        }
    }

    /// Nothing is left of any call, soon.
    pub(super) async fn is_idle(&self) {
        for node in [&self.a, &self.b, &self.c, &self.stranger] {
            is_idle(node.as_ref()).await;
        }
    }
}

/// Short keep-alives, yet long enough for a machine that is busy with something else.
pub(super) fn config(url: &str, id: &str, tenant: &str) -> nats::Config {
    let tenant: Tenant = tenant.parse().unwrap();
    nats::Config {
        keep_alive: Duration::from_millis(500),
        lost_after: Duration::from_secs(3),
        ..nats::Config::new([url], tenant, node_id(id))
    }
}

/// Nothing is left of any call of a node, soon.
pub(super) async fn is_idle(node: &dyn Backbone) {
    let idle = async {
        while node.in_flight().values().any(|count| *count > 0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), idle).await.unwrap_or_else(|_| panic!("left over: {:?}", node.in_flight()));
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, Box::pin(future)).await.expect("took too long")
}

pub(super) fn node_id(id: &str) -> NodeId {
    id.parse().unwrap()
}

pub(super) fn server_id(id: &str) -> ServerId {
    id.parse().unwrap()
}

/// A request to the server `fs`.
pub(super) fn request(payload: impl Into<Bytes>) -> BusRequest {
    BusRequest {
        call_id: Uuid::now_v7(),
        principal: "anna".into(),
        server: Some(server_id("fs")),
        method: "tools/call".into(),
        name: Some("read".into()),
        budget: Duration::from_secs(50),
        trace: None,
        payload: payload.into(),
    }
}
