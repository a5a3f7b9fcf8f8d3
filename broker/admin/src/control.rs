//! The node as its operator sees it.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use spanwire_context::Contexts;
use spanwire_mcp::Json;
use spanwire_model::{
    AgentId, AgentPage, AgentQuery, Author, Dispatch, EraChoice, Holdings, Inventory, NodeId, Result, ServerId,
    ServerSpec, ShardStatus,
};
use spanwire_telemetry::Telemetry;
use tokio::sync::watch;

use crate::{TraceFilter, TraceMatch, TraceSummary};

/// What the control API needs of a node.
///
/// Laws: everything but what adds and removes, and `trace`, answers at once, from snapshots; an error's public text is shown to the
/// operator.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Its id.
    fn node(&self) -> &NodeId;

    /// The inventory, now and whenever it changes. The sender lives as long as the node.
    fn watch(&self) -> watch::Receiver<Arc<Inventory>>;

    /// The inventory now.
    fn inventory(&self) -> Arc<Inventory> {
        self.watch().borrow().clone()
    }

    /// Registers a server for all nodes, and over their restarts: for `home`, or for this node where that is `None`, unless any node may
    /// run it. The record says who asked. Returns when that is durable, before the server is connected.
    ///
    /// Errors: `InvalidParams` when the spec is wrong; `Conflict` when the id is taken and `replace` is false, or the configuration of
    /// this node has it; `Unavailable` when the registry cannot be written at the moment.
    async fn add(&self, author: Author, spec: ServerSpec, home: Option<NodeId>, replace: bool) -> Result<()>;

    /// Removes a server from the registry, and closes it wherever it runs. False when there is none.
    ///
    /// Errors: `Conflict` when the configuration of this node owns it; `Unavailable` as above.
    async fn remove(&self, author: Author, id: &ServerId) -> Result<bool>;

    /// Registers an agent by its card for all nodes, and over their restarts. The record says who asked. True when it took the place of
    /// another one.
    ///
    /// Errors: `InvalidParams` when it is no agent card; `Conflict` when the id is taken and `replace` is false; `QuotaExceeded`;
    /// `Unavailable` as above.
    async fn add_agent(&self, author: Author, id: &AgentId, card: Json, replace: bool) -> Result<bool>;

    /// Removes an agent from the registry. False when there is none.
    ///
    /// Errors: `Unavailable` as above.
    async fn remove_agent(&self, author: Author, id: &AgentId) -> Result<bool>;

    /// A page of the agents, as far as this node has read the registry.
    ///
    /// Errors: `Internal` when the registry cannot be read.
    fn agents(&self, query: &AgentQuery) -> Result<AgentPage>;

    /// Where calls go.
    fn dispatch(&self) -> Arc<dyn Dispatch>;

    /// The shared context; `None` on a node that runs without it.
    fn contexts(&self) -> Option<Contexts>;

    /// Where spans of the control API's own go.
    fn telemetry(&self) -> &Telemetry;

    /// Traces that are held, newest first, at most `limit`.
    fn traces(&self, filter: &TraceFilter, limit: usize) -> Vec<TraceSummary>;

    /// The one trace whose id is in the range: how a prefix of an id is looked up. Its spans may come from other nodes too.
    async fn trace(&self, ids: RangeInclusive<u128>) -> TraceMatch;

    /// Traces as they end, beginning now. Bounded: a slow reader misses some. Dropping it ends it.
    fn follow(&self, filter: TraceFilter) -> BoxStream<'static, TraceSummary>;

    /// A backup of all that the node keeps, in pieces; the last is an error when it is not whole. Dropping it ends it.
    fn backup(&self) -> BoxStream<'static, Result<Bytes>>;

    /// How the node is.
    fn status(&self) -> Status;

    /// All metrics as OpenMetrics text, with its `# EOF`.
    fn metrics(&self) -> String;
}

/// How a node is, but for what its inventory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub node: NodeId,
    /// The version of the program.
    pub version: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// Since its start it has heard of the other nodes, and knows their servers.
    pub settled: bool,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// How it reaches other nodes, without credentials: `Backbone::describe`.
    pub backbone: String,
    /// Messages are delivered between nodes at the moment: `Backbone::is_connected`.
    pub backbone_connected: bool,
    /// Calls that are running here.
    pub in_flight: u64,
    /// Sessions of legacy clients that are open here.
    pub sessions: u64,
    /// What became of the telemetry.
    pub telemetry: TelemetryStatus,
    /// Where the ledger is kept: `local`, `jetstream`.
    pub ledger: &'static str,
    /// The shards of the ledger here.
    pub shards: Vec<ShardStatus>,
    /// Who has which lease.
    pub leases: Arc<Holdings>,
    /// How many agents are registered.
    pub agents: u64,
}

/// One address that a node listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What for: `http`, `grpc`.
    pub name: String,
    /// Host and port.
    pub address: String,
    /// Which eras of MCP clients may speak there; `None` where no MCP is spoken.
    pub era: Option<EraChoice>,
}

/// What became of the spans of this node since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetryStatus {
    /// Where they are sent, without credentials; `None` when they are not exported.
    pub endpoint: Option<String>,
    /// Spans that were delivered.
    pub exported: u64,
    /// Spans whose delivery failed for good.
    pub failed: u64,
    /// Spans that were dropped because a queue was full.
    pub dropped: u64,
    /// Spans held in memory.
    pub held: u64,
}
