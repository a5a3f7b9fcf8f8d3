//! A ledger in memory, whose faults are made by hand.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use spanwire_model::{
    Book, Command, Entry, Error, ErrorKind, Ledger, Read, ReadLevel, Receipt, Result, Shard, ShardState, ShardStatus,
};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::memory::Memory;
use crate::ContextMachine;

pub(super) struct MemoryLedger {
    shards: Vec<Mutex<Log>>,
    applied: Vec<watch::Sender<u64>>,
    state: Mutex<ShardState>,
    /// The next append is done, and its acknowledgement lost.
    pub(super) loses_next: AtomicBool,
    /// How much later it is for the log than it is.
    pub(super) ahead_ms: AtomicU64,
}

#[derive(Default)]
struct Log {
    memory: Memory,
    entries: Vec<Entry>,
    receipts: HashMap<Uuid, Receipt>,
}

impl MemoryLedger {
    pub(super) fn new() -> Self {
        let shards = usize::from(Book::Context.shards());
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            applied: (0..shards).map(|_| watch::Sender::new(0)).collect(),
            state: Mutex::new(ShardState::Following),
            loses_next: AtomicBool::new(false),
            ahead_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn set_state(&self, state: ShardState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> ShardState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, shard: Shard, work: impl FnOnce(&mut Log) -> T) -> T {
        work(&mut self.shards[usize::from(shard.number)].lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many listen for what is applied.
    pub(super) fn watchers(&self, shard: Shard) -> usize {
        self.applied[usize::from(shard.number)].receiver_count()
    }

    /// The entries of a shard so far.
    pub(super) fn entries(&self, shard: Shard) -> Vec<Entry> {
        self.with(shard, |log| log.entries.clone())
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn append(&self, shard: Shard, command: Command, _deadline: Instant) -> Result<Receipt> {
        if self.state() != ShardState::Following {
            return Err(Error::new(ErrorKind::Unavailable, format!("shard {shard} is {}", self.state().as_str())));
        }
        let receipt = self.with(shard, |log| {
            if let Some(receipt) = log.receipts.get(&command.operation) {
                return receipt.clone();
            }
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            let wall = wall + self.ahead_ms.load(Ordering::SeqCst);
            let time_ms = log.entries.last().map_or(0, |entry| entry.time_ms).max(wall);
            let entry = Entry { shard, sequence: log.entries.len() as u64 + 1, time_ms, command };
            let outcome = log.memory.apply(&ContextMachine, &entry);
            let receipt = Receipt { sequence: entry.sequence, outcome };
            log.receipts.insert(entry.command.operation, receipt.clone());
            log.entries.push(entry);
            receipt
        });
        self.applied[usize::from(shard.number)].send_replace(self.with(shard, |log| log.entries.len() as u64));
        if self.loses_next.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::DeadlineExceeded, "no acknowledgement in time"));
        }
        Ok(receipt)
    }

    async fn reach(&self, shard: Shard, level: ReadLevel, deadline: Instant) -> Result<u64> {
        let mut applied = self.applied(shard);
        match level {
            ReadLevel::Local => Ok(*applied.borrow()),
            ReadLevel::AtLeast(sequence) => {
                let reached = tokio::time::timeout_at(deadline, applied.wait_for(|applied| *applied >= sequence)).await;
                let late = || Error::new(ErrorKind::DeadlineExceeded, format!("sequence {sequence} is not here yet"));
                reached.map_err(|_| late())?.map(|applied| *applied).map_err(|_| late())
            }
            ReadLevel::Linearizable if self.state() == ShardState::Following => Ok(*applied.borrow()),
            ReadLevel::Linearizable => Err(Error::new(ErrorKind::Unavailable, "the log is out of reach")),
        }
    }

    fn read(&self, shard: Shard, read: &mut Read<'_>) -> Result<()> {
        self.with(shard, |log| read(&log.memory, log.entries.len() as u64))
    }

    fn applied(&self, shard: Shard) -> watch::Receiver<u64> {
        self.applied[usize::from(shard.number)].subscribe()
    }

    fn status(&self) -> Vec<ShardStatus> {
        let state = self.state();
        let status = |number: u16| {
            let shard = Shard { book: Book::Context, number };
            let last = self.with(shard, |log| log.entries.len() as u64);
            ShardStatus {
                shard,
                state,
                detail: (state == ShardState::Stopped).then(|| "by hand".into()),
                applied: last,
                last,
                first: 1,
                hash: "".into(),
                replicas: 1,
                stale: (state == ShardState::CutOff).then_some(Duration::from_millis(1500)),
            }
        };
        (0..Book::Context.shards()).map(status).collect()
    }
}
