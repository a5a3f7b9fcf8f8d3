//! The cheap handle that everybody else holds.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use spanwire_model::{Error, ErrorKind, Inventory, NodeId, Result, ServerId, ServerSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Attached, owner::Command};

/// Longest that tasks may take to end once nothing is waited for any more.
const ABANDON: Duration = Duration::from_secs(1);

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
    shutdown: CancellationToken,
    abandon: CancellationToken,
    tasks: TaskTracker,
}

impl Handle {
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        inventory: watch::Receiver<Arc<Inventory>>,
        shutdown: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let attached = Arc::new(ArcSwap::from_pointee(HashMap::new()));
        let local_state = Arc::new(ArcSwap::from_pointee(Bytes::from_static(b"{}")));
        let abandon = CancellationToken::new();
        let (loads, draining) = (Arc::default(), Arc::new(watch::channel(false).0));
        Self { commands, inventory, attached, local_state, loads, draining, shutdown, abandon, tasks }
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

    /// Adds a server and remembers it. `${VAR}` in the specification stays unresolved in the store. Returns when it is stored; its state then
    /// shows in the inventory.
    ///
    /// # Errors
    /// `InvalidParams` when the id is taken and `replace` is not set, or a variable is not; `Internal` when the store fails.
    pub async fn add(&self, spec: ServerSpec, replace: bool) -> Result<()> {
        self.ask(|reply| Command::Add { spec: Box::new(spec), replace, reply }).await?
    }

    /// Removes a server and forgets it; false when there is none. One from the configuration file comes back with the next start.
    ///
    /// # Errors
    /// `Internal` when the store fails.
    pub async fn remove(&self, id: &ServerId) -> Result<bool> {
        self.ask(|reply| Command::Remove { id: id.clone(), reply }).await?
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
