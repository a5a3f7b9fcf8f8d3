//! A cluster in memory: one log, one set of leases, and nodes that hear nothing else of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use spanwire_mcp::{Era, Json, Revision};
use spanwire_model::{
    Address, Backbone, BusHandler, BusMessage, BusReply, BusRequest, Command, Connected, Connector, Entry, Error,
    ErrorKind, Holding, Holdings, Lease, LeaseKeeper, Leases, Ledger, Machine as _, NodeId, Notice, Pair, Read,
    ReadLevel, Receipt, Reply, Result, ServeGuard, ServeOn, ServerFacts, ServerId, ServerSpec, Shard, ShardState,
    ShardStatus, StoreError, Topic, Upstream, UpstreamCall, View, ViewMut,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use uuid::Uuid;

use crate::Machine;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A view in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

impl View for Map {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let from = after.unwrap_or(prefix);
        let keys = self.0.range(from.to_vec()..).filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        let keys = keys.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(keys.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl ViewMut for Map {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
}

/// The registry's log and its view, which all nodes share.
pub(crate) struct Log {
    state: Mutex<(Map, BTreeMap<Uuid, Receipt>)>,
    applied: watch::Sender<u64>,
    rebuilding: AtomicBool,
}

impl Log {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), applied: watch::channel(0).0, rebuilding: AtomicBool::new(false) })
    }

    /// The log as a node has it that can be cut off.
    pub(crate) fn node(self: &Arc<Self>) -> Arc<NodeLedger> {
        Arc::new(NodeLedger { log: self.clone(), connected: AtomicBool::new(true) })
    }

    /// The view of all nodes is being made anew: it is empty. What it was.
    pub(crate) fn clear(&self) -> (Map, u64) {
        self.rebuilding.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        (std::mem::take(&mut state.0), self.applied.send_replace(0))
    }

    /// The view is made anew.
    pub(crate) fn install(&self, (view, sequence): (Map, u64)) {
        let mut state = lock(&self.state);
        state.0 = view;
        self.applied.send_replace(sequence);
        drop(state);
        self.follow();
    }

    /// It follows the log again, as it is.
    pub(crate) fn follow(&self) {
        self.rebuilding.store(false, Ordering::SeqCst);
    }

    /// How many commands were applied.
    pub(crate) fn len(&self) -> u64 {
        *self.applied.borrow()
    }
}

pub(crate) struct NodeLedger {
    log: Arc<Log>,
    pub(crate) connected: AtomicBool,
}

#[async_trait]
impl Ledger for NodeLedger {
    async fn append(&self, shard: Shard, command: Command, _: Instant) -> Result<Receipt> {
        if !self.connected.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the ledger is out of reach"));
        }
        let receipt = {
            let mut state = lock(&self.log.state);
            let (view, receipts) = &mut *state;
            if let Some(receipt) = receipts.get(&command.operation) {
                return Ok(receipt.clone());
            }
            let sequence = *self.log.applied.borrow() + 1;
            let mut changed = view.clone();
            let entry = Entry { shard, sequence, time_ms: sequence, command };
            let outcome = Machine.apply(&mut changed, &entry).unwrap();
            if outcome.is_ok() {
                *view = changed;
            }
            let receipt = Receipt { sequence, outcome };
            receipts.insert(entry.command.operation, receipt.clone());
            receipt
        };
        self.log.applied.send_modify(|applied| *applied += 1);
        Ok(receipt)
    }

    async fn reach(&self, _: Shard, _: ReadLevel, _: Instant) -> Result<u64> {
        Ok(self.log.len())
    }

    fn read(&self, _: Shard, read: &mut Read<'_>) -> Result<()> {
        read(&lock(&self.log.state).0, self.log.len())
    }

    fn applied(&self, _: Shard) -> watch::Receiver<u64> {
        self.log.applied.subscribe()
    }

    fn status(&self) -> Vec<ShardStatus> {
        let is_rebuilding = self.log.rebuilding.load(Ordering::SeqCst);
        vec![ShardStatus {
            shard: Shard::REGISTRY,
            state: if is_rebuilding { ShardState::Rebuilding } else { ShardState::Following },
            detail: None,
            applied: self.log.len(),
            last: self.log.len(),
            first: 1,
            hash: "".into(),
            replicas: 1,
            stale: None,
        }]
    }
}

/// Leases that end when the test says so.
pub(crate) struct Bucket {
    state: Mutex<(u64, BTreeMap<String, LeaseKeeper>)>,
    /// Leases are over when they come: the node slept.
    pub(crate) comes_late: AtomicBool,
    holdings: watch::Sender<Arc<Holdings>>,
}

impl Bucket {
    pub(crate) fn new() -> Arc<Self> {
        let holdings = watch::channel(Arc::default()).0;
        Arc::new(Self { state: Mutex::default(), comes_late: AtomicBool::new(false), holdings })
    }

    pub(crate) fn node(self: &Arc<Self>, node: &NodeId) -> Arc<NodeLeases> {
        Arc::new(NodeLeases { bucket: self.clone(), node: node.clone() })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        self.holdings.subscribe()
    }

    /// Ends a lease as if its holder had not renewed it.
    pub(crate) fn lose(&self, name: &str) {
        if let Some(keeper) = lock(&self.state).1.remove(name) {
            keeper.valid_until.send_replace(Instant::now());
            keeper.lost.cancel();
        }
        self.free(name, None);
    }

    fn free(&self, name: &str, token: Option<u64>) {
        self.holdings.send_if_modified(|holdings| {
            let is_it = holdings.get(name).is_some_and(|holding| token.is_none_or(|token| holding.token == token));
            if is_it {
                Arc::make_mut(holdings).remove(name);
            }
            is_it
        });
    }
}

pub(crate) struct NodeLeases {
    bucket: Arc<Bucket>,
    node: NodeId,
}

#[async_trait]
impl Leases for NodeLeases {
    async fn acquire(&self, name: &str, _: Duration) -> Result<Option<Lease>> {
        let mut state = lock(&self.bucket.state);
        if self.bucket.holdings.borrow().contains_key(name) {
            return Ok(None);
        }
        state.0 += 1;
        let token = state.0;
        let ttl = if self.bucket.comes_late.load(Ordering::SeqCst) { 0 } else { 3600 };
        let (lease, keeper) = Lease::new(name, token, Instant::now() + Duration::from_secs(ttl));
        let (released, done) = (keeper.released.clone(), keeper.done.clone());
        state.1.insert(name.to_owned(), keeper);
        let holding = Holding { node: self.node.clone(), token };
        self.bucket.holdings.send_modify(|holdings| drop(Arc::make_mut(holdings).insert(name.into(), holding)));
        let (bucket, name) = (self.bucket.clone(), name.to_owned());
        tokio::spawn(async move {
            released.cancelled().await;
            bucket.free(&name, Some(token));
            done.cancel();
        });
        Ok(Some(lease))
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        self.bucket.watch()
    }
}

/// A bus on which nobody is heard. One that is cut off is not connected.
#[derive(Default)]
pub(crate) struct DeafBus {
    pub(crate) is_cut_off: AtomicBool,
}

#[async_trait]
impl Backbone for DeafBus {
    fn request(&self, _: Address, _: BusRequest) -> BusReply {
        let nobody = Error::new(ErrorKind::Unavailable, "nobody is there");
        futures::stream::once(std::future::ready(Err(nobody))).boxed()
    }

    async fn serve(&self, _: ServeOn, _: Arc<dyn BusHandler>) -> Result<ServeGuard> {
        Ok(ServeGuard::new(|| {}))
    }

    async fn publish(&self, _: &Topic, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn subscribe(&self, _: &str) -> Result<BoxStream<'static, BusMessage>> {
        Ok(futures::stream::pending().boxed())
    }

    fn is_connected(&self) -> bool {
        !self.is_cut_off.load(Ordering::SeqCst)
    }

    fn describe(&self) -> String {
        "deaf".into()
    }

    fn in_flight(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }

    async fn close(&self) {}
}

/// What became of the servers of all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Nodes that run each server now, with the arguments it was started with.
    pub(crate) running: BTreeSet<(String, String)>,
    /// The most nodes that ran one server at the same time.
    pub(crate) most: usize,
    /// How often any was started.
    pub(crate) starts: usize,
    /// The commands that were started.
    pub(crate) commands: Vec<String>,
    /// Processes of servers that have some, by server; those that were given up end a little later.
    pub(crate) processes: BTreeMap<String, usize>,
    /// Those of them that are about to end.
    pub(crate) ending: BTreeMap<String, usize>,
    /// The most of one such server at the same time.
    pub(crate) most_processes: usize,
}

/// The command of a server that never answers.
pub(crate) const SILENT: &str = "silent";

/// The command of a server whose connection takes a while until it ends its process.
pub(crate) const SLOW: &str = "slow";

/// How long such a server lives after it was given up.
const ENDS_AFTER: Duration = Duration::from_millis(50);

/// A process of a server. Dropped, it ends a little later.
struct Process(Arc<watch::Sender<Seen>>, String);

impl Process {
    fn start(seen: &Arc<watch::Sender<Seen>>, id: &ServerId) -> Self {
        seen.send_modify(|seen| {
            let alive = seen.processes.entry(id.to_string()).or_default();
            *alive += 1;
            seen.most_processes = seen.most_processes.max(*alive);
            seen.starts += 1;
        });
        Self(seen.clone(), id.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let (seen, id) = (self.0.clone(), self.1.clone());
        seen.send_modify(|seen| *seen.ending.entry(id.clone()).or_default() += 1);
        tokio::spawn(async move {
            tokio::time::sleep(ENDS_AFTER).await;
            seen.send_modify(|seen| {
                for counts in [&mut seen.processes, &mut seen.ending] {
                    *counts.entry(id.clone()).or_default() -= 1;
                }
            });
        });
    }
}

/// Servers that work at once, on all nodes.
pub(crate) struct Servers(pub(crate) Arc<watch::Sender<Seen>>, pub(crate) NodeId);

struct Server {
    seen: Arc<watch::Sender<Seen>>,
    key: (String, String),
    /// Dropped when it is closed.
    notices: Mutex<Option<mpsc::Sender<Notice>>>,
    process: Mutex<Option<Process>>,
}

#[async_trait]
impl Connector for Servers {
    async fn connect(&self, spec: &ServerSpec, _: Option<Era>) -> Result<Connected> {
        let spanwire_model::Target::Stdio(target) = &spec.target else { panic!("{spec:?}") };
        if target.command == SILENT {
            let _process = Process::start(&self.0, &spec.id);
            return std::future::pending().await;
        }
        let process = (target.command == SLOW).then(|| Process::start(&self.0, &spec.id));
        let key = (spec.id.to_string(), self.1.to_string());
        self.0.send_modify(|seen| {
            seen.running.insert(key.clone());
            seen.most = seen.most.max(seen.running.iter().filter(|(id, _)| *id == key.0).count());
            seen.starts += usize::from(process.is_none());
            seen.commands.push(target.command.clone());
        });
        let (sender, notices) = mpsc::channel(1);
        let server =
            Server { seen: self.0.clone(), key, notices: Mutex::new(Some(sender)), process: Mutex::new(process) };
        let facts = ServerFacts {
            revision: Revision::CANONICAL,
            info: Json::empty_object(),
            capabilities: Json::empty_object(),
            instructions: None,
        };
        Ok(Connected { upstream: Arc::new(server), facts, notices })
    }

    async fn gone(&self, server: &ServerId) {
        let is_gone = |seen: &Seen| seen.ending.get(server.as_str()).is_none_or(|ending| *ending == 0);
        self.0.subscribe().wait_for(is_gone).await.unwrap();
    }
}

#[async_trait]
impl Upstream for Server {
    fn call(&self, _: UpstreamCall) -> Reply {
        Reply::ready(Ok(Json::empty_object()))
    }

    async fn close(&self) {
        lock(&self.notices).take();
        let process = lock(&self.process).take();
        if process.is_some() {
            tokio::time::sleep(ENDS_AFTER).await;
        }
        drop(process);
        self.seen.send_if_modified(|seen| seen.running.remove(&self.key));
    }
}
