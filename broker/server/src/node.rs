//! Stub: the composition root is written elsewhere.

use std::{net::SocketAddr, sync::Arc};

use spanwire_model::Inventory;
use tokio::sync::watch;

use crate::config::Config;

/// A node that answers on its addresses. Dropping it without [`RunningNode::shutdown`] stops it at once.
pub(crate) struct RunningNode {
    /// Where HTTP answers.
    pub(crate) http_addr: SocketAddr,
    /// Where gRPC answers.
    pub(crate) grpc_addr: SocketAddr,
    /// All servers, now and after each change.
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
}

impl RunningNode {
    /// Lets running calls finish within `limits.shutdown_timeout_ms`, and stops.
    pub(crate) async fn shutdown(self) {}
}

/// Starts a node and returns when it answers. Servers are still starting then: see `inventory`.
pub(crate) async fn start(_config: Config) -> anyhow::Result<RunningNode> {
    anyhow::bail!("not merged yet")
}
