//! The ledger of a node alone: log and views in one sled database.
//!
//! The store's writer thread gives an entry its number and its time, applies it, and writes it with what it did in one batch; all that wait
//! share one flush, and only then are they answered and seen by readers. See [`Durability`] for what they survive.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use spanwire_model::{
    Book, Command, Error, ErrorKind, Ledger, Machine, NodeId, Read, ReadLevel, Receipt, Result, Shard, ShardState,
    ShardStatus, StoreError,
};
use spanwire_telemetry::Telemetry;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

#[cfg(doc)]
use crate::Durability;
use crate::{
    Backups, SledStore,
    applier::{self, Applier, Options},
    error::ApplyError,
    kept, observe, prepare,
    shard::ShardCell,
    step::{self, Logged},
    store::{Done, Tree},
};

/// Appends that wait for the writer thread. Further ones are refused as overloaded.
const WAITING: usize = 4096;

/// What may be different in tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) options: Options,
    pub(crate) entries_kept: u64,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self { options: Options::ALONE, entries_kept: kept::ENTRIES_KEPT };
}

/// A ledger on sled alone.
pub struct LocalLedger {
    applier: Applier,
    telemetry: Telemetry,
    limits: Limits,
    waiting: Semaphore,
}

impl std::fmt::Debug for LocalLedger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalLedger").finish_non_exhaustive()
    }
}

/// One command on its way to the writer thread.
struct Draft {
    operation: Uuid,
    payload: Bytes,
    deadline: Instant,
}

impl LocalLedger {
    /// Opens the shards of those books that have a machine.
    ///
    /// # Errors
    /// When the store cannot be read. A shard whose log and view do not agree, or that holds what its machine does not know, is stopped and
    /// says so; the others go on.
    pub async fn open(
        store: SledStore,
        machines: BTreeMap<Book, Arc<dyn Machine>>,
        telemetry: Telemetry,
    ) -> Result<Self, StoreError> {
        Self::open_with(store, machines, telemetry, Limits::DEFAULT).await
    }

    pub(crate) async fn open_with(
        store: SledStore,
        machines: BTreeMap<Book, Arc<dyn Machine>>,
        telemetry: Telemetry,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let applier = Applier::open(store, &machines, limits.options).await?;
        for shard in applier.shards() {
            applier.begin_log(shard).await?;
        }
        let ledger = Self { applier, telemetry, limits, waiting: Semaphore::new(WAITING) };
        ledger.verify().await?;
        Ok(ledger)
    }

    /// Follows the chain of hashes over every log that is kept. A shard in which it is broken stops.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify(&self) -> Result<(), StoreError> {
        for shard in self.applier.shards() {
            let Ok(cell) = self.applier.cell(shard) else { continue };
            let position = cell.live().published.clone();
            let (sequence, tree) = (position.sequence, self.applier.store().tree().clone());
            let checked = tokio::task::spawn_blocking(move || kept::verify(&tree, shard, &position)).await;
            if let Err(text) = checked.map_err(|_| StoreError::Closed)?? {
                tracing::error!(%shard, "the ledger is damaged: {text}");
                cell.stop(ApplyError::Unreadable { shard, sequence, text });
            }
        }
        Ok(())
    }

    /// Makes backups of this node.
    pub fn backups(&self, node: NodeId) -> Backups {
        Backups::new(self.applier.clone(), node)
    }

    #[cfg(test)]
    pub(crate) fn applier(&self) -> &Applier {
        &self.applier
    }

    async fn try_append(&self, shard: Shard, command: Command, deadline: Instant) -> Result<Receipt> {
        let cell = self.applier.cell(shard)?.clone();
        let operation = command.operation;
        let payload = prepare::payload(shard, &*cell.machine, command)?;
        prepare::refuse_if_stopped(&cell)?;
        let overloaded = || Error::new(ErrorKind::Overloaded, format!("too many commands wait for shard {shard}"));
        let place = self.waiting.try_acquire().map_err(|_| overloaded())?;
        let (reply, done) = oneshot::channel();
        let limits = self.limits;
        let draft = Draft { operation, payload, deadline };
        let job = Box::new(move |tree: &Tree| {
            let appended = append(&cell, tree, draft, limits);
            let then = move |flushed| {
                // What was written may be durable all the same.
                let flushed = applier::finish(&cell, flushed).map_err(|error| unsettled(shard, error.into()));
                // Whoever asked may have gone; the entry stands.
                let _ = reply.send(appended.and_then(|receipt| flushed.map(|()| receipt)));
            };
            Done { flush: true, then: Box::new(then) }
        });
        match timeout_at(deadline, self.applier.store().submit(job)).await {
            Err(_) => return Err(overloaded()),
            Ok(Err(_)) => return Err(closed()),
            Ok(Ok(())) => {}
        }
        let answer = timeout_at(deadline, done).await;
        drop(place);
        match answer {
            Ok(answer) => answer.map_err(|_| closed())?,
            Err(_) => Err(prepare::too_late(shard)),
        }
    }
}

/// The error for an entry of which nobody knows whether it is durable.
fn unsettled(shard: Shard, error: Error) -> Error {
    let text =
        format!("{}: whether the entry of {shard} is kept shows when the node has been started again", error.public);
    Error { kind: ErrorKind::DeadlineExceeded, public: text.into(), ..error }
}

/// Appends and applies one command. On the writer thread.
fn append(cell: &ShardCell, tree: &Tree, draft: Draft, limits: Limits) -> Result<Receipt> {
    let shard = cell.shard;
    if Instant::now() >= draft.deadline {
        return Err(prepare::too_late(shard));
    }
    let failed = |error| {
        let error = ApplyError::store(shard, error);
        cell.stop(error.clone());
        Error::from(error)
    };
    prepare::refuse_if_stopped(cell)?;
    if let Some(known) = cell.outcome(draft.operation, false).map_err(failed)? {
        return Ok(known);
    }
    let sequence = cell.live().head.sequence + 1;
    let entry = Logged { sequence, time_ms: now_ms(), payload: draft.payload };
    let stepped = step::step(cell, &entry, limits.options.operations_kept).map_err(|error| {
        if error.stops() {
            cell.stop(error.clone());
        }
        Error::from(error)
    })?;
    let nothing = || Error::new(ErrorKind::Internal, format!("shard {shard} made nothing of a command"));
    let mut step = stepped.ok_or_else(nothing)?;
    let (_, receipt) = step.receipt.take().ok_or_else(nothing)?;
    let log = kept::add(tree, shard, &entry, &mut step, limits.entries_kept).map_err(failed)?;
    cell.commit(tree, step, log, true).map_err(failed)?;
    Ok(receipt)
}

#[async_trait]
impl Ledger for LocalLedger {
    async fn append(&self, shard: Shard, command: Command, deadline: Instant) -> Result<Receipt> {
        let observed = observe::begin(&self.telemetry, shard, &command);
        let result = self.try_append(shard, command, deadline).await;
        observed.end(&result);
        result
    }

    async fn reach(&self, shard: Shard, level: ReadLevel, deadline: Instant) -> Result<u64> {
        let position = self.applier.position(shard)?;
        match level {
            ReadLevel::Local => Ok(position.sequence),
            // What was acknowledged was published before.
            ReadLevel::Linearizable => {
                prepare::refuse_if_stopped(self.applier.cell(shard)?)?;
                Ok(position.sequence)
            }
            ReadLevel::AtLeast(wanted) => self.applier.reach(shard, wanted, deadline).await,
        }
    }

    fn read(&self, shard: Shard, read: &mut Read<'_>) -> Result<()> {
        self.applier.read(shard, read)
    }

    fn applied(&self, shard: Shard) -> watch::Receiver<u64> {
        // A shard without a machine never has an entry.
        self.applier.applied(shard).unwrap_or_else(|_| watch::channel(0).1)
    }

    fn status(&self) -> Vec<ShardStatus> {
        let status = |shard| {
            let cell = self.applier.cell(shard).ok()?;
            let live = cell.live();
            let position = &live.published;
            let state = if live.stopped.is_some() { ShardState::Stopped } else { ShardState::Following };
            Some(ShardStatus {
                shard,
                state,
                detail: live.stopped.as_ref().map(|error| error.to_string().into()),
                applied: position.sequence,
                last: position.sequence,
                first: position.first,
                hash: position.hash.to_string().into(),
                replicas: 1,
                stale: None,
            })
        };
        self.applier.shards().filter_map(status).collect()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Internal, "the store of this node is closed")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
