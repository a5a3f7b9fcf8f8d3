//! Who exists and is alive.
//!
//! Who exists stands in the registry's log, which all nodes share, and in each node's configuration. One task owns the state of this
//! node: its servers, each supervised by a task of its own, and what the peers said of theirs. Whatever changes, the owner publishes a
//! new immutable [`Inventory`]. Reads are snapshots; nobody else writes. Servers that any node may run are run by whoever holds their
//! lease.

mod attached;
mod card;
mod desired;
mod handle;
mod listing;
mod machine;
mod migrate;
mod owner;
mod peers;
mod placement;
mod presence;
mod queue;
mod register;
mod settling;
mod state;
pub mod store;
mod supervisor;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

pub use attached::Attached;
pub use handle::Handle;
pub use listing::ListLimits;
pub use machine::{MAX_AGENTS, MAX_RECORD_BYTES, MAX_REPLICAS, MAX_SERVERS, Machine};
pub use peers::INVENTORY_METHOD;
pub use queue::Slot;
use spanwire_model::{Backbone, Connector, Inventory, Leases, Ledger, NodeId, Result, ServerId, ServerSpec, Store};
use tokio::sync::{mpsc, watch};

/// Turns a stored specification, which holds `${VAR}`, into one that can be connected. The result may hold secrets.
pub type Resolve = Arc<dyn Fn(&ServerSpec) -> Result<ServerSpec> + Send + Sync>;

/// How servers and nodes are looked after.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Longest that connecting and shaking hands may take.
    pub connect_timeout: Duration,
    /// Limits of one listing.
    pub list: ListLimits,
    /// Calls in flight to one server, where its specification does not say. Further ones wait.
    pub max_in_flight: usize,
    /// Calls waiting for one server. Further ones are refused as overloaded.
    pub max_waiting: usize,
    /// First pause before a server is started again; doubles up to `backoff_max`, with jitter.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
    /// A connection that lasted this long begins the back-off anew.
    pub stable_after: Duration,
    /// How often a server that is no child process is asked whether it is still there: a connection without a stream says nothing when
    /// its other end goes away.
    pub probe: Duration,
    /// How often a node says that it is alive.
    pub heartbeat: Duration,
    /// So many heartbeats without a word make a node suspect: others are asked before it.
    pub heartbeats_until_suspect: u32,
    /// So many make it gone, and its servers with it.
    pub heartbeats_until_gone: u32,
    /// The version of this program, for the other nodes.
    pub version: Arc<str>,
    /// How long a placed server stays with a node that stopped renewing its lease.
    pub lease_ttl: Duration,
    /// How long a node that was connected, at its start or again, listens before it counts as settled and takes leases: the nodes should
    /// know of each other, so that servers spread. More than a heartbeat, or zero where there are no other nodes.
    pub settle: Duration,
    /// No other node has this registry. Then every server that is in it with the placement `here` is this node's, whatever the node was
    /// called when it was registered.
    pub owns_all: bool,
    /// Ids that belong to parts of the broker itself, on every node, whether they are on or off here. What else has such an id is not run:
    /// it was registered before the id was taken.
    pub reserved: BTreeSet<ServerId>,
}

impl Config {
    /// The defaults, for a node.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            connect_timeout: Duration::from_secs(30),
            list: ListLimits::default(),
            max_in_flight: 64,
            max_waiting: 1024,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            probe: Duration::from_secs(15),
            heartbeat: Duration::from_secs(1),
            heartbeats_until_suspect: 4,
            heartbeats_until_gone: 12,
            version: "".into(),
            lease_ttl: Duration::from_secs(6),
            settle: Duration::ZERO,
            owns_all: false,
            reserved: BTreeSet::new(),
        }
    }
}

/// What the registry is given to work with.
pub struct Parts {
    /// Connects servers.
    pub connector: Arc<dyn Connector>,
    /// Keeps the eras that were found. Older versions kept servers there too: they go into the registry.
    pub store: Arc<dyn Store>,
    /// The log with the servers that were registered, whose machine is [`Machine`].
    pub ledger: Arc<dyn Ledger>,
    /// Who runs what only so many may run at a time.
    pub leases: Arc<dyn Leases>,
    /// Reaches the peers.
    pub backbone: Arc<dyn Backbone>,
    /// Resolves stored specifications.
    pub resolve: Resolve,
}

/// Commands waiting for the owner.
const COMMANDS: usize = 256;

/// Starts the registry with the servers of the configuration, resolved, and those of the registry that this node is to run: also when
/// neither the ledger nor the leases are in reach.
///
/// # Errors
/// When the store or the backbone cannot be read or subscribed to.
pub async fn start(config: Config, parts: Parts, configured: Vec<ServerSpec>) -> Result<Handle> {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (publisher, inventory) = watch::channel(Arc::new(Inventory::default()));
    let register = register::Register::new(config.node.clone(), config.owns_all, parts.ledger.clone());
    let ids = configured.iter().map(|spec| spec.id.clone()).collect();
    let handle = Handle::new(commands, inventory, register, ids, parts.resolve.clone(), !config.settle.is_zero());
    let owner = owner::Owner::new(config, parts, handle.clone(), publisher, configured)?;
    if let Err(error) = owner.start(inbox).await {
        // Supervisors that were started before it failed.
        handle.shutdown(Duration::ZERO).await;
        return Err(error);
    }
    Ok(handle)
}

#[cfg(test)]
mod tests;
