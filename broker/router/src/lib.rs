//! Decides where a call goes, and forwards it.
//!
//! The way of one call: [`plan`] looks at the method and an immutable snapshot of the catalog and decides; [`forward`] takes the proof of
//! permission and sends the call to a server of this node directly ([`execute`]), or over the backbone ([`remote`]), to the replica that
//! [`search`] finds; [`observe`] is the span and the metrics around all of it; [`serve`] answers what other nodes forward here, with the
//! same policy check, because the bus is not trusted.

mod execute;
mod forward;
mod listen;
mod local;
mod observe;
mod plan;
mod relay;
mod remote;
mod replica;
mod rewrite;
mod seal;
mod sealed;
mod search;
mod serve;
mod trace;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use spanwire_catalog::Snapshot;
use spanwire_mcp::mirror::Mirrored;
use spanwire_model::{
    Backbone, Call, Dispatch, Error, ErrorKind, Inventory, ListKind, NodeId, Outcome, Principal, Reply, Result,
    ServeGuard, ServeOn, ServerId,
};
use spanwire_policy::Policy;
use spanwire_registry::Handle as Registry;
use spanwire_telemetry::Telemetry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

pub use crate::{
    relay::{MAX_RELAYED_REQUESTS, MAX_RELAYED_STREAMS},
    serve::TRACE_METHOD,
};

/// How calls are routed.
#[derive(Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// How the catalog is built.
    pub catalog: spanwire_catalog::Config,
    /// Calls in flight on this node, over all servers. Further ones are refused as overloaded.
    pub max_in_flight: usize,
    /// Resources that one `subscriptions/listen` may name.
    pub max_subscriptions: usize,
    /// Seals what clients keep for servers: request states and task ids. The same on nodes that shall open each other's; secret.
    pub seal_secret: Vec<u8>,
    /// How long a client may take to answer what a server asked for in mid-call.
    pub input_timeout: Duration,
    /// Version of this software, for `serverInfo`.
    pub version: String,
}

/// What the router is given to work with.
pub struct Parts {
    /// Who may.
    pub policy: Policy,
    /// Who is alive.
    pub registry: Registry,
    /// The other nodes.
    pub backbone: Arc<dyn Backbone>,
    /// Spans and metrics.
    pub telemetry: Telemetry,
}

/// The router. Cloning is cheap.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) policy: ArcSwap<Policy>,
    pub(crate) registry: Registry,
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) telemetry: Telemetry,
    pub(crate) catalog: ArcSwap<Snapshot>,
    pub(crate) snapshots: watch::Sender<u64>,
    pub(crate) relaying: relay::Relaying,
    pub(crate) seal: seal::Seal,
    /// What is known of the replicas of other nodes by this node's own calls.
    pub(crate) replicas: replica::Replicas,
    /// Places for calls whose server is on no node at the moment.
    pub(crate) held: Semaphore,
    in_flight: Arc<Semaphore>,
    /// Calls that a shutdown waits for.
    running: TaskTracker,
    /// What the bus is, for spans.
    pub(crate) messaging_system: &'static str,
    pub(crate) shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// The right to have one more call in flight on this node. A shutdown waits for it to be dropped.
pub(crate) struct Running {
    _permit: OwnedSemaphorePermit,
    _token: TaskTrackerToken,
}

impl Router {
    /// Starts the router: builds the first snapshot, follows the registry and serves the other nodes.
    ///
    /// # Errors
    /// When the backbone cannot be served.
    pub async fn start(config: Config, parts: Parts) -> Result<Self> {
        let inventory = parts.registry.watch();
        let first = Snapshot::build(&inventory.borrow(), &config.catalog);
        let seal = seal::Seal::new(&config.seal_secret);
        let seal = seal.ok_or_else(|| Error::new(ErrorKind::Internal, "the seal could not be made"))?;
        let messaging_system = if parts.backbone.describe() == "memory" { "memory" } else { "nats" };
        let inner = Arc::new(Inner {
            relaying: relay::Relaying::default(),
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            config,
            policy: ArcSwap::from_pointee(parts.policy),
            registry: parts.registry,
            backbone: parts.backbone,
            telemetry: parts.telemetry,
            snapshots: watch::channel(first.version).0,
            catalog: ArcSwap::from_pointee(first),
            running: TaskTracker::new(),
            messaging_system,
            seal,
            replicas: replica::Replicas::new(),
            held: Semaphore::new(search::MAX_HELD),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let node_guard = inner.backbone.serve(ServeOn::Node, Arc::new(serve::Server(inner.clone()))).await?;
        inner.tasks.spawn(inner.clone().follow(inventory, node_guard));
        Ok(Self(inner))
    }

    /// The catalog at this moment.
    pub fn catalog(&self) -> Arc<Snapshot> {
        self.0.catalog.load_full()
    }

    /// Tells of each new catalog by its version: that of the inventory that it was built from. Some may be skipped.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.snapshots.subscribe()
    }

    /// Replaces the policy. Calls that are running keep what they were permitted.
    pub fn set_policy(&self, policy: Policy) {
        self.0.policy.store(Arc::new(policy));
        self.0.snapshots.send_modify(|_| ());
    }

    /// Who may, at this moment.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.policy.load_full()
    }

    /// Calls in flight on this node: its clients' own, and those that other nodes sent here.
    pub fn in_flight(&self) -> usize {
        self.0.config.max_in_flight.saturating_sub(self.0.in_flight.available_permits())
    }

    /// Ends listen streams gracefully, stops serving the other nodes, refuses new calls, and waits for those in flight within the
    /// time given.
    pub async fn shutdown(&self, within: Duration) {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        let drained = async {
            self.0.tasks.wait().await;
            self.0.running.close();
            self.0.running.wait().await;
        };
        if tokio::time::timeout(within, drained).await.is_err() {
            tracing::warn!(calls = self.in_flight(), "calls were still running at the end of the time to drain");
        }
    }
}

impl Inner {
    /// Lets one more call in.
    ///
    /// # Errors
    /// `Overloaded` at the limit, `Unavailable` during shutdown: nothing was executed.
    pub(crate) fn enter(&self) -> Result<Running> {
        if self.shutdown.is_cancelled() {
            self.telemetry.metrics().call_rejected("shutting_down");
            return Err(Error::new(ErrorKind::Unavailable, "this node is shutting down"));
        }
        let _permit = self.in_flight.clone().try_acquire_owned().map_err(|_| {
            self.telemetry.metrics().call_rejected("overloaded");
            Error::new(ErrorKind::Overloaded, format!("this node has {} calls in flight", self.config.max_in_flight))
        })?;
        Ok(Running { _permit, _token: self.running.token() })
    }

    /// The one task that builds snapshots and serves the servers that can be called.
    async fn follow(self: Arc<Self>, mut inventory: watch::Receiver<Arc<Inventory>>, node_guard: ServeGuard) {
        let mut serving: HashMap<ServerId, ServeGuard> = HashMap::new();
        let mut restarts: HashMap<ServerId, u32> = HashMap::new();
        loop {
            let current = inventory.borrow_and_update().clone();
            self.catalog.store(Arc::new(Snapshot::build(&current, &self.config.catalog)));
            self.snapshots.send_replace(current.version);
            let metrics = self.telemetry.metrics();
            metrics.set_nodes(current.nodes.len());
            metrics.set_servers(current.servers.iter().filter(|entry| entry.local).map(|entry| entry.health.state));
            self.count_restarts(&current, &mut restarts);
            self.replicas.keep_only(&current);
            self.serve_callable(&current, &mut serving).await;
            tokio::select! {
                changed = inventory.changed() => if changed.is_err() { break },
                () = self.shutdown.cancelled() => break,
            }
        }
        drop(serving);
        drop(node_guard);
    }

    /// Counts what each server of this node was restarted since the last look.
    fn count_restarts(&self, inventory: &Inventory, known: &mut HashMap<ServerId, u32>) {
        let last = std::mem::take(known);
        for entry in inventory.servers.iter().filter(|entry| entry.local) {
            let (now, before) = (entry.health.restarts, last.get(&entry.id).copied().unwrap_or(0));
            (before..now).for_each(|_| self.telemetry.metrics().server_restarted(entry.id.as_str()));
            known.insert(entry.id.clone(), now);
        }
    }

    async fn serve_callable(self: &Arc<Self>, inventory: &Inventory, serving: &mut HashMap<ServerId, ServeGuard>) {
        let callable = |entry: &&Arc<spanwire_model::ServerEntry>| entry.local && entry.health.state.is_callable();
        let wanted: Vec<&ServerId> = inventory.servers.iter().filter(callable).map(|entry| &entry.id).collect();
        serving.retain(|id, _| wanted.contains(&id));
        for id in wanted {
            if !serving.contains_key(id) {
                match self.backbone.serve(ServeOn::Server(id.clone()), Arc::new(serve::Server(self.clone()))).await {
                    Ok(guard) => drop(serving.insert(id.clone(), guard)),
                    // The next inventory tries again.
                    Err(error) => tracing::warn!(server = %id, "cannot be served to other nodes: {error}"),
                }
            }
        }
    }

    /// The error for a name that the catalog does not have, or that the caller may not see: the same for both, so that it must not depend on
    /// what this node has. Right after the start of a node it may be another one's, of which this one has not heard yet.
    pub(crate) fn not_found(&self, what: &str, name: &str, suggestion: Option<&str>, may_be_elsewhere: bool) -> Error {
        if !may_be_elsewhere || !self.registry.may_lack_others() {
            return Self::unknown(what, name, suggestion);
        }
        let shown: String = name.chars().take(200).collect();
        let text = format!("{what} \"{shown}\" is not known: this node has not heard of the others yet");
        Error::new(ErrorKind::Unavailable, text)
    }

    /// The error for a name that does not exist, or that the caller may not see: the same words for both.
    pub(crate) fn unknown(what: &str, name: &str, suggestion: Option<&str>) -> Error {
        let hint = suggestion.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        let shown: String = name.chars().take(200).collect();
        Error::new(ErrorKind::InvalidParams, format!("unknown {what} \"{shown}\"{hint}"))
    }
}

impl Dispatch for Router {
    fn dispatch(&self, call: Call) -> Reply {
        observe::dispatch(&self.0, call)
    }

    fn has_view(&self, principal: &Principal, view: &str) -> bool {
        // Of one that may be another node's server the call itself tells.
        let may_be_there = || self.0.registry.may_lack_others() && view.parse::<ServerId>().is_ok();
        let is_there = self.0.catalog.load().view(Some(view)).is_some() || may_be_there();
        is_there && self.0.policy.load().allows_view(principal, Some(view))
    }

    fn mirrored(&self, principal: &Principal, view: Option<&str>, tool: &str) -> Option<Arc<[Mirrored]>> {
        let catalog = self.0.catalog.load();
        let tool = catalog.mirroring_tool(view, tool)?;
        // One that the caller may not use reads like one that is not there, also here.
        let policy = self.0.policy.load();
        let may = policy.allows_view(principal, view) && policy.allows(principal, ListKind::Tools, &tool.canonical);
        tool.mirrored.clone().filter(|_| may)
    }
}

/// What the plan for a call is.
pub(crate) enum Plan {
    /// Answered here.
    Ready(Outcome),
    /// Sent to a server.
    Forward(Box<forward::Forward>),
    /// A long stream of changes.
    Listen(Box<listen::Listen>),
}

impl Plan {
    pub(crate) fn forward(forward: forward::Forward) -> Self {
        Self::Forward(Box::new(forward))
    }
}
