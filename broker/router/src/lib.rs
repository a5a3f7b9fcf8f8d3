//! Decides where a call goes, and forwards it.
//!
//! The way of one call: [`plan`] looks at the method and an immutable snapshot of the catalog and decides; [`forward`] takes the proof of
//! permission and sends the call to a server of this node directly, or over the backbone; [`observe`] is the span and the metrics around
//! both; [`serve`] answers what other nodes forward here, with the same policy check, because the bus is not trusted.

mod forward;
mod listen;
mod local;
mod observe;
mod plan;
mod rewrite;
mod serve;
mod trace;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use spanwire_catalog::Snapshot;
use spanwire_model::{
    Backbone, Call, Dispatch, Error, ErrorKind, Inventory, NodeId, Outcome, Reply, Result, ServeGuard, ServeOn,
    ServerId,
};
use spanwire_policy::Policy;
use spanwire_registry::Handle as Registry;
use spanwire_telemetry::Telemetry;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::serve::TRACE_METHOD;

/// How calls are routed.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// How the catalog is built.
    pub catalog: spanwire_catalog::Config,
    /// Calls in flight on this node, over all servers. Further ones are refused as overloaded.
    pub max_in_flight: usize,
    /// Resources that one `subscriptions/listen` may name.
    pub max_subscriptions: usize,
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
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Router {
    /// Starts the router: builds the first snapshot, follows the registry and serves the other nodes.
    ///
    /// # Errors
    /// When the backbone cannot be served.
    pub async fn start(config: Config, parts: Parts) -> Result<Self> {
        let inventory = parts.registry.watch();
        let first = Snapshot::build(&inventory.borrow(), &config.catalog);
        let inner = Arc::new(Inner {
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            config,
            policy: ArcSwap::from_pointee(parts.policy),
            registry: parts.registry,
            backbone: parts.backbone,
            telemetry: parts.telemetry,
            snapshots: watch::channel(first.version).0,
            catalog: ArcSwap::from_pointee(first),
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

    /// Replaces the policy. Calls that are running keep what they were permitted.
    pub fn set_policy(&self, policy: Policy) {
        self.0.policy.store(Arc::new(policy));
        self.0.snapshots.send_modify(|_| ());
    }

    /// Who may, at this moment.
    pub fn policy(&self) -> Arc<Policy> {
        self.0.policy.load_full()
    }

    /// Calls in flight on this node.
    pub fn in_flight(&self) -> usize {
        self.0.config.max_in_flight.saturating_sub(self.0.in_flight.available_permits())
    }

    /// Ends listen streams gracefully, stops serving the other nodes, and waits for calls in flight within the time given.
    pub async fn shutdown(&self, within: Duration) {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        let drained = async {
            self.0.tasks.wait().await;
            // All permits at once are free only when no call runs.
            let all = u32::try_from(self.0.config.max_in_flight).unwrap_or(u32::MAX);
            let _ = self.0.in_flight.acquire_many(all).await;
        };
        if tokio::time::timeout(within, drained).await.is_err() {
            tracing::warn!(calls = self.in_flight(), "calls were still running at the end of the time to drain");
        }
    }
}

impl Inner {
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
            let restarted = count_restarts(&current, &mut restarts);
            restarted.into_iter().for_each(|server| metrics.server_restarted(server.as_str()));
            self.serve_callable(&current, &mut serving).await;
            tokio::select! {
                changed = inventory.changed() => if changed.is_err() { break },
                () = self.shutdown.cancelled() => break,
            }
        }
        drop(serving);
        drop(node_guard);
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

    /// The error for a name that does not exist, or that the caller may not see: the same words for both.
    pub(crate) fn unknown(what: &str, name: &str, suggestion: Option<&str>) -> Error {
        let hint = suggestion.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        let shown: String = name.chars().take(200).collect();
        Error::new(ErrorKind::InvalidParams, format!("unknown {what} \"{shown}\"{hint}"))
    }
}

/// The servers of this node that were started again since the last look.
fn count_restarts(inventory: &Inventory, seen: &mut HashMap<ServerId, u32>) -> Vec<ServerId> {
    let locals = inventory.servers.iter().filter(|entry| entry.local);
    locals
        .filter(|entry| {
            let before = seen.insert(entry.id.clone(), entry.health.restarts).unwrap_or(0);
            entry.health.restarts > before
        })
        .map(|entry| entry.id.clone())
        .collect()
}

impl Dispatch for Router {
    fn dispatch(&self, call: Call) -> Reply {
        observe::dispatch(&self.0, call)
    }

    fn has_view(&self, view: &str) -> bool {
        self.0.catalog.load().view(Some(view)).is_some()
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
