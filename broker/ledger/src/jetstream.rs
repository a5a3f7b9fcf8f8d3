//! The ledger of a cluster: each shard's log is a JetStream stream, and every node's view of it is in its own store.
//!
//! ```text
//! append -> publish (operation id) -> stream -> acknowledgement ─┐
//!                                       │                        ├─> outcome
//!                                       └─> own feed -> applier ─┘
//! ```
//!
//! The order of a log is its stream's, and what an entry means is decided where it is applied, so nothing here compares and sets.
//! An append is answered with the outcome of its own entry on this node. Whoever is cut off says so within about two seconds,
//! refuses writes and serves what it has. One node, which holds a lease, makes missing streams, checkpoints, snapshots and room.
//!
//! A view is never trusted to belong to a log because it once did: on every new contact the stream's identity and the message at
//! the last applied entry are compared (`rebuild.rs`), and checkpoints compare the hashes of all nodes (`voices.rs`).

mod append;
mod barrier;
mod bucket;
mod dispute;
mod duty;
mod feed;
mod follow;
mod log;
mod names;
mod probe;
mod publish;
mod rebuild;
mod restore;
mod streams;
mod survey;
mod unsettled;
mod voices;
mod waiting;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use spanwire_model::{
    Book, Command, Error, ErrorKind, Fence, Leases, Ledger, Machine, NodeId, Read, ReadLevel, Receipt, Result, Shard,
    ShardStatus, Tenant,
};
use spanwire_telemetry::{Telemetry, names as keys};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    append::Course,
    log::Log,
    names::Names,
    streams::{Facts, Streams, Trouble},
};
use crate::{
    Backups, SledStore,
    applier::{Applier, Options},
    observe,
    position::Position,
};

pub use restore::restore_into_streams;
pub use survey::{Kept, SurveyError, SurveyedStream, survey};

/// Entries between two checkpoints.
const CHECKPOINT_ENTRIES: u64 = 1_000;
/// Entries between two snapshots.
const SNAPSHOT_ENTRIES: u64 = 10_000;
/// Bytes of a log between two snapshots, when fewer entries make them.
const SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024;
/// Entries before a snapshot that stay in the log, for nodes that are a little behind.
const LOG_MARGIN: u64 = 1_000;
/// Bytes that a log may take before the servers refuse more. Compaction keeps it far below.
const LOG_BYTES: u64 = 256 * 1024 * 1024;
/// How long what runs may take to end when the node closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a node's part of the ledger needs to know.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// Whose logs.
    pub tenant: Tenant,
    /// The first tokens of every subject, such as `sw.v1`.
    pub prefix: String,
    /// The JetStream domain of the streams; `None` for that of the server that this node is connected to.
    pub domain: Option<String>,
    /// This node.
    pub node: NodeId,
    /// Replicas of streams that are made; `None` for three where the servers that keep them are a cluster, and one where they are not.
    pub replicas: Option<u8>,
    /// A folder of the node's own for snapshots on their way; it is made.
    pub folder: PathBuf,
    /// Entries between two checkpoints.
    pub checkpoint_entries: u64,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Bytes of a log between two snapshots, when fewer entries make them.
    pub snapshot_bytes: u64,
    /// Entries before the older of two snapshots that stay in the log.
    pub log_margin: u64,
    /// Largest size of a log in bytes.
    pub log_bytes: u64,
}

impl JetStreamOptions {
    /// The defaults.
    pub fn new(tenant: Tenant, prefix: impl Into<String>, node: NodeId, folder: impl Into<PathBuf>) -> Self {
        Self {
            tenant,
            prefix: prefix.into(),
            domain: None,
            node,
            replicas: None,
            folder: folder.into(),
            checkpoint_entries: CHECKPOINT_ENTRIES,
            snapshot_entries: SNAPSHOT_ENTRIES,
            snapshot_bytes: SNAPSHOT_BYTES,
            log_margin: LOG_MARGIN,
            log_bytes: LOG_BYTES,
        }
    }
}

/// One node's part of a cluster's ledger. Dropping it ends what it does.
pub struct JetStreamLedger {
    inner: Arc<Inner>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

struct Inner {
    options: JetStreamOptions,
    streams: Streams,
    applier: Applier,
    logs: BTreeMap<Shard, Arc<Log>>,
    leases: Arc<dyn Leases>,
    /// Valid while this node tends the logs for all.
    duty: watch::Sender<Option<Fence>>,
    telemetry: Telemetry,
}

impl JetStreamLedger {
    /// Opens the views, and follows the logs from then on. It does not wait for NATS: until a shard follows its log its state says why.
    ///
    /// # Errors
    /// `Internal` when the store or the folder cannot be used.
    pub async fn start(
        client: async_nats::Client,
        store: SledStore,
        machines: &BTreeMap<Book, Arc<dyn Machine>>,
        leases: Arc<dyn Leases>,
        telemetry: Telemetry,
        options: JetStreamOptions,
    ) -> Result<Self> {
        Self::start_with(client, store, machines, leases, telemetry, options, Options::FOLLOWER).await
    }

    async fn start_with(
        client: async_nats::Client,
        store: SledStore,
        machines: &BTreeMap<Book, Arc<dyn Machine>>,
        leases: Arc<dyn Leases>,
        telemetry: Telemetry,
        options: JetStreamOptions,
        applying: Options,
    ) -> Result<Self> {
        let failed = |error: &dyn fmt::Display| Error::new(ErrorKind::Internal, format!("the ledger's store: {error}"));
        let folder = std::fs::create_dir_all(&options.folder).and_then(|()| rebuild::remove_scratch(&options.folder));
        folder.map_err(|error| failed(&error))?;
        let applier = Applier::open(store, machines, applying).await;
        let applier = applier.map_err(|error| failed(&error))?;
        let names = Names::new(options.tenant.clone(), options.prefix.clone());
        let inner = Arc::new(Inner {
            streams: Streams::new(client, names, options.replicas, options.log_bytes)
                .in_domain(options.domain.as_deref()),
            logs: applier.shards().map(|shard| (shard, Arc::new(Log::new(shard)))).collect(),
            applier,
            leases,
            duty: watch::Sender::new(None),
            telemetry,
            options,
        });
        let ledger = Self { inner, closed: CancellationToken::new(), tasks: TaskTracker::new() };
        for log in ledger.inner.logs.values().cloned() {
            ledger.spawn(log.clone(), |inner, log| async move { follow::run(&inner, &log).await });
            ledger.spawn(log.clone(), |inner, log| async move { barrier::run(&inner, &log).await });
            ledger.spawn(log.clone(), |inner, log| async move { dispute::speak(&inner, &log).await });
            ledger.spawn(log, |inner, log| async move { probe::run(&inner, &log).await });
        }
        ledger.spawn((), |inner, ()| async move { duty::run(&inner).await });
        Ok(ledger)
    }

    /// Makes backups of this node.
    pub fn backups(&self) -> Backups {
        Backups::new(self.inner.applier.clone(), self.inner.options.node.clone())
    }

    /// Ends what it does, and returns when it has ended. A lease is given back.
    pub async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        if timeout(CLOSE_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::debug!("the ledger closed before all of it had ended");
        }
    }

    fn spawn<T, F>(&self, with: T, task: impl FnOnce(Arc<Inner>, T) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = task(self.inner.clone(), with);
        let closed = self.closed.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = closed.cancelled() => {}
            }
        });
    }
}

impl Inner {
    fn log(&self, shard: Shard) -> Result<&Arc<Log>> {
        let unknown = || Error::new(ErrorKind::Internal, format!("shard {shard} is not kept on this node"));
        self.logs.get(&shard).ok_or_else(unknown)
    }

    /// How far the view of a shard is.
    fn position(&self, shard: Shard) -> std::result::Result<Position, Trouble> {
        self.applier.position(shard).map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// Notes that the view of a shard is of this stream.
    async fn bind(&self, shard: Shard, facts: &Facts) -> std::result::Result<(), Trouble> {
        let bound = self.applier.bind(shard, facts.identity.clone()).await;
        bound.map_err(|error| Trouble::Refused(error.to_string()))
    }

    fn has_duty(&self) -> bool {
        self.duty.borrow().as_ref().is_some_and(Fence::is_valid)
    }

    /// Waits until an entry is applied here; returns the last one that is.
    async fn wait_applied(&self, shard: Shard, sequence: u64, deadline: Instant) -> Result<u64> {
        let mut applied = self.applier.applied(shard)?;
        let reached = match timeout_at(deadline, applied.wait_for(|applied| *applied >= sequence)).await {
            Ok(Ok(applied)) => Some(*applied),
            Ok(Err(_)) | Err(_) => None,
        };
        reached.ok_or_else(|| {
            let text = format!("entry {sequence} of {shard} was not applied on this node in time");
            Error::new(ErrorKind::DeadlineExceeded, text)
        })
    }

    fn status(&self, log: &Log) -> Option<ShardStatus> {
        let position = self.applier.position(log.shard).ok()?;
        let condition = log.condition();
        let facts = condition.facts;
        Some(ShardStatus {
            shard: log.shard,
            state: condition.state,
            detail: condition.detail,
            applied: position.sequence,
            last: facts.as_ref().map_or(0, |facts| facts.last).max(position.sequence),
            first: facts.as_ref().map_or(1, |facts| facts.first),
            hash: position.hash.to_string().into(),
            replicas: facts.map_or_else(|| self.streams.expected_replicas(), |facts| facts.replicas),
            stale: condition.stale,
        })
    }
}

#[async_trait]
impl Ledger for JetStreamLedger {
    async fn append(&self, shard: Shard, command: Command, deadline: Instant) -> Result<Receipt> {
        let inner = &self.inner;
        let log = inner.log(shard)?;
        let mut observed = observe::begin(&inner.telemetry, shard, &command);
        let before = log.facts().map_or(0, |facts| facts.last);
        let trace = observed.span.context();
        let mut course = Course::default();
        let result = Box::pin(append::append(inner, log, command, &trace, deadline, &mut course)).await;
        observed.span.set(keys::SPANWIRE_LEDGER_ATTEMPTS, i64::from(course.attempts));
        if let Ok(receipt) = &result {
            observed.span.set(keys::SPANWIRE_LEDGER_REDELIVERY, receipt.sequence <= before);
        }
        observed.end(&result);
        result
    }

    async fn reach(&self, shard: Shard, level: ReadLevel, deadline: Instant) -> Result<u64> {
        let log = self.inner.log(shard)?;
        match level {
            ReadLevel::Local => Ok(self.inner.applier.position(shard)?.sequence),
            ReadLevel::AtLeast(sequence) => self.inner.wait_applied(shard, sequence, deadline).await,
            ReadLevel::Linearizable => log.barriers.reach(log, deadline).await,
        }
    }

    fn read(&self, shard: Shard, read: &mut Read<'_>) -> Result<()> {
        self.inner.applier.read(shard, read)
    }

    fn applied(&self, shard: Shard) -> watch::Receiver<u64> {
        // A shard without a machine is never applied.
        self.inner.applier.applied(shard).unwrap_or_else(|_| watch::Sender::new(0).subscribe())
    }

    fn status(&self) -> Vec<ShardStatus> {
        self.inner.logs.values().filter_map(|log| self.inner.status(log)).collect()
    }
}

impl Drop for JetStreamLedger {
    fn drop(&mut self) {
        self.closed.cancel();
        self.tasks.close();
    }
}

impl fmt::Debug for JetStreamLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetStreamLedger").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
