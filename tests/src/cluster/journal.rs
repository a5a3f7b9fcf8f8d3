//! What clients did and what came of it, and what watchers saw: the material of the checkers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// One thing that a client did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The node that it was sent to, by its place in the cluster.
    pub node: usize,
    /// What.
    pub act: Act,
    /// When it was sent, in microseconds of the run.
    pub begun_us: u64,
    /// When its outcome was known, or was given up.
    pub ended_us: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a client wants. Numbers written are unique in the whole run, so that each is recognised wherever it shows up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A call of the tool that counts, under a mark of its own.
    Call {
        /// The mark.
        mark: String,
    },
    /// Sets a key to `[item]`.
    Put {
        /// The key.
        key: String,
        /// The number.
        item: u64,
    },
    /// Sets a key to `[item]` if it has that version; 0 is a key that is not there.
    PutIf {
        /// The key.
        key: String,
        /// The number.
        item: u64,
        /// The version.
        expected: u64,
    },
    /// Puts a number at the end of a key's list.
    Append {
        /// The key.
        key: String,
        /// The number.
        item: u64,
    },
    /// Reads a key.
    Read {
        /// The key.
        key: String,
        /// How current.
        level: Level,
    },
}

/// How current a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it comes.
    Local,
    /// At least up to this sequence of the log.
    AtLeast(u64),
    /// Not older than any acknowledged write.
    Linearizable,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The tool answered.
    Called,
    /// It was written, as this version.
    Written(u64),
    /// What was read.
    Read(Versioned),
    /// The condition did not hold, of a key with this version where it was said.
    Refused(Option<u64>),
    /// It failed, and the node says that nothing was executed or written.
    NotDone(String),
    /// It failed, and may have been done.
    Unknown(String),
}

/// The state of a key: a list of numbers and the sequence of the entry that wrote it; empty and 0 when it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Versioned {
    /// The version.
    pub version: u64,
    /// The numbers.
    pub items: Vec<u64>,
}

/// A change that a watcher saw.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// The key.
    pub key: String,
    /// What it is from then on.
    pub state: Versioned,
}

impl Operation {
    /// The key and the number that it writes, when it writes.
    pub fn written(&self) -> Option<(&str, u64)> {
        match &self.act {
            Act::Put { key, item } | Act::PutIf { key, item, .. } | Act::Append { key, item } => Some((key, *item)),
            Act::Call { .. } | Act::Read { .. } => None,
        }
    }

    /// The kind of its failure; a condition that does not hold is none.
    pub fn failure(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::NotDone(kind) | Outcome::Unknown(kind) => Some(kind),
            Outcome::Called | Outcome::Written(_) | Outcome::Read(_) | Outcome::Refused(_) => None,
        }
    }
}

/// The record of a run. Clones write to the same.
#[derive(Debug, Clone)]
pub struct Journal {
    start: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
    events: Arc<Mutex<BTreeMap<String, Vec<Event>>>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { start: Instant::now(), operations: Arc::default(), events: Arc::default() }
    }
}

impl Journal {
    /// The time of the run, in microseconds.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Keeps an operation.
    pub fn push(&self, operation: Operation) {
        lock(&self.operations).push(operation);
    }

    /// Keeps what a watcher saw.
    pub fn saw(&self, watcher: &str, event: Event) {
        lock(&self.events).entry(watcher.to_owned()).or_default().push(event);
    }

    /// The version of the last change that a watcher saw.
    pub fn last_of(&self, watcher: &str) -> u64 {
        lock(&self.events).get(watcher).and_then(|events| events.last()).map_or(0, |event| event.state.version)
    }

    /// All operations until now, in the order in which they ended.
    pub fn operations(&self) -> Vec<Operation> {
        lock(&self.operations).clone()
    }

    /// What each watcher saw, in its order.
    pub fn events(&self) -> BTreeMap<String, Vec<Event>> {
        lock(&self.events).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
