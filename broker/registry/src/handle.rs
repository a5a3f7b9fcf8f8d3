//! The cheap handle that everybody else holds.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use spanwire_mcp::Json;
use spanwire_model::{
    AgentId, AgentPage, AgentQuery, Author, Error, ErrorKind, Inventory, NodeId, NodeState, Placement, Result,
    ServerId, ServerSpec,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Attached, Resolve, card,
    machine::{Change, Put, Removed},
    owner::Command,
    register::Register,
};

/// Longest that tasks may take to end once nothing is waited for any more.
const ABANDON: Duration = Duration::from_secs(1);

/// Time that closing servers and giving their leases back may take on top of the time for their calls.
const HAND_OVER_SLACK: Duration = Duration::from_secs(5);

/// Calls in flight and waiting, by node and server; what is not there is idle.
type Loads = HashMap<NodeId, HashMap<ServerId, u32>>;

/// The registry as everybody else sees it. Cloning is cheap.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    inventory: watch::Receiver<Arc<Inventory>>,
    attached: Arc<ArcSwap<HashMap<ServerId, Arc<Attached>>>>,
    local_state: Arc<ArcSwap<Bytes>>,
    /// How busy the servers of the other nodes are. A short lock for a look-up, so that a heartbeat makes no new inventory.
    loads: Arc<RwLock<Loads>>,
    draining: Arc<watch::Sender<bool>>,
    settled: Arc<AtomicBool>,
    /// There may be other nodes, of which a node that starts has to hear first.
    listens: bool,
    /// This node is connected, and has been for long enough to have heard of the others.
    heard: Arc<watch::Sender<bool>>,
    shutdown: CancellationToken,
    abandon: CancellationToken,
    tasks: TaskTracker,
    /// Supervisors of placed servers, to the end of their leases.
    placed: TaskTracker,
    register: Register,
    /// The servers of this node's configuration.
    configured: Arc<BTreeSet<ServerId>>,
    resolve: Resolve,
}

impl Handle {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        inventory: watch::Receiver<Arc<Inventory>>,
        register: Register,
        configured: BTreeSet<ServerId>,
        resolve: Resolve,
        listens: bool,
    ) -> Self {
        let attached = Arc::new(ArcSwap::from_pointee(HashMap::new()));
        let local_state = Arc::new(ArcSwap::from_pointee(Bytes::from_static(b"{}")));
        Self {
            commands,
            inventory,
            attached,
            local_state,
            loads: Arc::default(),
            draining: Arc::new(watch::channel(false).0),
            settled: Arc::default(),
            listens,
            heard: Arc::new(watch::channel(false).0),
            shutdown: CancellationToken::new(),
            abandon: CancellationToken::new(),
            tasks: TaskTracker::new(),
            placed: TaskTracker::new(),
            register,
            configured: Arc::new(configured),
            resolve,
        }
    }

    /// All servers at this moment.
    pub fn inventory(&self) -> Arc<Inventory> {
        self.inventory.borrow().clone()
    }

    /// Tells of each new inventory; intermediate ones may be skipped.
    pub fn watch(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.clone()
    }

    /// A server that is attached to this node and can be called now. Lock-free.
    pub fn attached(&self, id: &ServerId) -> Option<Arc<Attached>> {
        self.attached.load().get(id).cloned()
    }

    /// Calls in flight to the servers of this node.
    pub fn in_flight(&self) -> usize {
        self.attached.load().values().map(|attached| attached.in_flight()).sum()
    }

    /// Calls that a server of another node had in flight and waiting when that node spoke last, a second ago or so.
    pub fn load(&self, node: &NodeId, server: &ServerId) -> u32 {
        let loads = self.loads.read().unwrap_or_else(PoisonError::into_inner);
        loads.get(node).and_then(|servers| servers.get(server)).copied().unwrap_or(0)
    }

    /// Since its start this node has heard of the others, and knows the servers of all of them that told them in time.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// This node was just started, and a server that it does not know may be one of the others, of which it has not heard yet.
    pub fn may_lack_others(&self) -> bool {
        self.listens && !self.is_settled()
    }

    /// Whether this node knows which others are there: not before its first connection, and not right after it was without one.
    pub(crate) fn heard(&self) -> watch::Receiver<bool> {
        self.heard.subscribe()
    }

    pub(crate) fn set_heard(&self, heard: bool) {
        self.heard.send_if_modified(|known| std::mem::replace(known, heard) != heard);
    }

    /// Another node is there that takes something new.
    pub fn has_others(&self) -> bool {
        let own = &self.register.node;
        self.inventory.borrow().nodes.iter().any(|node| node.id != *own && node.state == NodeState::Alive)
    }

    pub(crate) fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }

    /// Says to everybody that this node is about to leave: the others send it nothing new, as far as they can. It cannot be taken back.
    pub async fn drain(&self) {
        if !self.draining.send_replace(true) {
            self.tell(Command::Drain).await;
        }
    }

    /// What peers ask for with [`INVENTORY_METHOD`](crate::INVENTORY_METHOD): the servers of this node as JSON.
    pub fn local_state(&self) -> Bytes {
        Bytes::clone(&self.local_state.load())
    }

    /// The same registry for whoever asks: what is written through it says by whom, and in which call and span.
    #[must_use]
    pub fn on_behalf(&self, author: Author) -> Self {
        Self { register: self.register.on_behalf(author), ..self.clone() }
    }

    /// Registers a server, for all nodes and over their restarts. With the placement `here` it runs on `home`, or on this node where
    /// that is `None`. `${VAR}` in the specification stays unresolved in the registry. Returns when it is durable; how it is then
    /// shows in the inventory.
    ///
    /// # Errors
    /// `Conflict` when the id is taken and `replace` is not set, or the configuration of the node has it; `InvalidParams` when a variable
    /// is not set or the specification is wrong, and for another node where no other one has this registry; `QuotaExceeded`; `Unavailable`, at once, when the ledger is out of reach: what runs goes
    /// on running.
    pub async fn add(&self, spec: ServerSpec, home: Option<NodeId>, replace: bool) -> Result<()> {
        let id = &spec.id;
        let home = match spec.placement {
            Placement::Any => home,
            Placement::Here => Some(home.unwrap_or_else(|| self.register.node.clone())),
        };
        let own = &self.register.node;
        if let Some(other) = home.as_ref().filter(|home| self.register.owns_all && *home != own) {
            let text = format!(
                "node \"{other}\" would not see it: the ledger of node \"{own}\" is its own, and not in JetStream"
            );
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        if home.as_ref() == Some(own) {
            if self.configured.contains(id) {
                let text =
                    format!("server \"{id}\" exists already: in the configuration of this node, which goes first");
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            (self.resolve)(&spec)?;
        }
        let json = Json::from_serialize(&spec).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let Put { replaced } = self.register.change(&Change::PutServer { spec: json, home, replace }).await?;
        tracing::info!(server = %spec.id, replaced, "registered");
        self.ask(|reply| Command::Reconcile { reply }).await
    }

    /// Removes a server from the registry, on whatever node it runs; false when there is none.
    ///
    /// # Errors
    /// `Conflict` when it is in the configuration of this node and in no registry; `Unavailable`, at once, when the ledger is out of
    /// reach; `Internal` when the store fails.
    pub async fn remove(&self, id: &ServerId) -> Result<bool> {
        let Removed { removed } = self.register.change(&Change::RemoveServer { id: id.clone() }).await?;
        let was_stored = self.ask(|reply| Command::Forget { id: id.clone(), reply }).await??;
        if !removed && !was_stored && self.configured.contains(id) {
            let text = format!("server \"{id}\" is in the configuration of this node: remove it there");
            return Err(Error::new(ErrorKind::Conflict, text));
        }
        Ok(removed || was_stored)
    }

    /// Registers an agent by its A2A agent card, for all nodes and over their restarts. For now the card is kept and told to all nodes, and
    /// no more. True when it took the place of another one. Returns when it is durable.
    ///
    /// # Errors
    /// `InvalidParams` when it is no agent card; `Conflict` when the id is taken and `replace` is not set; `QuotaExceeded`; `Unavailable`, at
    /// once, when the ledger is out of reach.
    pub async fn add_agent(&self, id: &AgentId, card: Json, replace: bool) -> Result<bool> {
        card::check(id, &card)?;
        let (agent, id) = (id, id.as_str().into());
        let change = if replace { Change::PutAgent { id, card } } else { Change::AddAgent { id, card } };
        let Put { replaced } = self.register.change(&change).await?;
        tracing::info!(%agent, replaced, "registered");
        Ok(replaced)
    }

    /// Removes an agent; false when there is none.
    ///
    /// # Errors
    /// `Unavailable`, at once, when the ledger is out of reach.
    pub async fn remove_agent(&self, id: &AgentId) -> Result<bool> {
        let Removed { removed } = self.register.change(&Change::RemoveAgent { id: id.as_str().into() }).await?;
        Ok(removed)
    }

    /// A page of the agents with their cards, as far as this node has read the registry.
    ///
    /// # Errors
    /// `Internal` when the registry cannot be read.
    pub fn agents(&self, query: &AgentQuery) -> Result<AgentPage> {
        self.register.agents(query)
    }

    /// How many agents are registered, as far as this node has read the registry.
    ///
    /// # Errors
    /// `Internal` when the registry cannot be read.
    pub fn agent_count(&self) -> Result<u64> {
        self.register.agent_count()
    }

    /// Gives every lease back, so that other nodes take over: no further one is taken, placed servers get no more calls, and each is
    /// closed when its calls have ended, or after the time given. Returns when all leases are given back.
    pub async fn hand_over(&self, within: Duration) {
        if self.ask(|reply| Command::HandOver { within, reply }).await.is_err() {
            return;
        }
        self.placed.close();
        if tokio::time::timeout(within + HAND_OVER_SLACK, self.placed.wait()).await.is_err() {
            tracing::warn!(servers = self.placed.len(), "were not handed over in time");
        }
    }

    /// Stops every server and every task, within the time given. A server that does not close in that time is left to its
    /// transport.
    pub async fn shutdown(&self, within: Duration) {
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "servers did not close in time");
            self.abandon.cancel();
            let _ = tokio::time::timeout(ABANDON, self.tasks.wait()).await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let gone = || Error::new(ErrorKind::Unavailable, "the node is shutting down");
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    pub(crate) async fn tell(&self, command: Command) {
        // The owner is only gone when the node stops.
        let _ = self.commands.send(command).await;
    }

    /// Whether this node is about to leave.
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    pub(crate) fn local_loads(&self) -> Vec<(ServerId, u32)> {
        self.attached.load().iter().map(|(id, attached)| (id.clone(), attached.load())).collect()
    }

    pub(crate) fn set_loads(&self, node: &NodeId, servers: HashMap<ServerId, u32>) {
        self.loads.write().unwrap_or_else(PoisonError::into_inner).insert(node.clone(), servers);
    }

    pub(crate) fn forget_loads(&self, node: &NodeId) {
        self.loads.write().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    pub(crate) fn set_attached(&self, attached: HashMap<ServerId, Arc<Attached>>) {
        self.attached.store(Arc::new(attached));
    }

    pub(crate) fn set_local_state(&self, state: Bytes) {
        self.local_state.store(Arc::new(state));
    }

    pub(crate) fn register(&self) -> &Register {
        &self.register
    }

    pub(crate) fn placed(&self) -> &TaskTracker {
        &self.placed
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The time to close politely is over.
    pub(crate) async fn abandoned(&self) {
        self.abandon.cancelled().await;
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.shutdown
    }
}
