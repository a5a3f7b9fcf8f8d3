//! What is durable: one ordered log of commands per shard, and the views that it feeds.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spanwire_mcp::Json;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::{Error, ErrorKind, NodeId, Pair, Result, StoreError, TraceContext};

/// What a log is about. Each book has a state machine of its own, and a fixed number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Book {
    /// Servers and agents that were registered at run time.
    Registry,
    /// The context that agents share.
    Context,
}

impl Book {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Registry, Self::Context];

    /// The book in one word, as in subjects, keys and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Context => "context",
        }
    }

    /// How many shards the book has, on every node and for ever: what belongs to which shard follows from it.
    pub const fn shards(self) -> u16 {
        match self {
            Self::Registry => 1,
            Self::Context => 4,
        }
    }
}

/// One totally ordered log of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    /// The book.
    pub book: Book,
    /// Which of its shards, from 0.
    pub number: u16,
}

impl Shard {
    /// The only shard of the registry.
    pub const REGISTRY: Self = Self { book: Book::Registry, number: 0 };

    /// All shards of all books.
    pub fn all() -> impl Iterator<Item = Self> {
        Book::ALL.into_iter().flat_map(|book| (0..book.shards()).map(move |number| Self { book, number }))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.book.name(), self.number)
    }
}

/// Who asked for a command. Every version that comes of it keeps this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name of the principal.
    pub principal: Arc<str>,
    /// The node that appended it.
    pub node: NodeId,
    /// The call in which it was written, where there is one.
    pub call: Option<Uuid>,
    /// The span that wrote it.
    pub trace: Option<TraceContext>,
}

/// A change that is wanted. What it means, its conditions included, is decided where it is applied, by the book's [`Machine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The operation: a command that is appended twice under one id is applied once, and has one outcome, whatever the second one says.
    pub operation: Uuid,
    /// The version of the command's form, from 1. A machine that does not know it stops its shard.
    pub version: u16,
    /// Who asked.
    pub author: Author,
    /// The conditions and operations, as the book defines them.
    pub body: Json,
}

/// A command in its place in the log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The log.
    pub shard: Shard,
    /// Its number: one more than the one before it. The number is the version of whatever the command writes.
    pub sequence: u64,
    /// The log's own time, in milliseconds since 1970: never earlier than that of the entry before. The only clock that a machine has.
    pub time_ms: u64,
    /// The command.
    pub command: Command,
}

/// Why a machine did not do what a command wanted. It is an outcome like any other: the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In one word.
    pub reason: RefusalReason,
    /// In one sentence: what, and on what.
    pub text: String,
    /// What the caller needs to do better, such as the version that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RefusalReason {
    /// A condition did not hold.
    Conflict,
    /// It would exceed a quota.
    Quota,
    /// It makes no sense.
    Invalid,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.reason {
            RefusalReason::Conflict => ErrorKind::Conflict,
            RefusalReason::Quota => ErrorKind::QuotaExceeded,
            RefusalReason::Invalid => ErrorKind::InvalidParams,
        };
        let error = Self::new(kind, refusal.text);
        match refusal.data {
            Some(data) => error.with_data(data),
            None => error,
        }
    }
}

/// What became of a command: what the machine says of it, or why it refused.
pub type Applied = std::result::Result<Json, Refusal>;

/// The keys and values that a shard's log has made so far.
///
/// Law: consistent, that is, as it was after exactly one entry.
pub trait View {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keys that begin with `prefix` and come after `after` (or from the first), in order, with their values, at most `limit`.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError>;
}

/// A view that is being changed. What was changed is seen by the reads that follow. Keys of at most 1 KiB; values of any size up to
/// [`MAX_VIEW_VALUE`].
pub trait ViewMut: View {
    /// Sets a key.
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);

    /// Removes a key; nothing happens when it is not there.
    fn delete(&mut self, key: &[u8]);
}

/// Largest value of a view, in bytes.
pub const MAX_VIEW_VALUE: usize = 1024 * 1024;

/// The state machine of a book.
///
/// Laws: `apply` is pure: the same view and entry make the same changes and outcome on every node, in every process and in every later
/// version of the program that knows the command's version. No clock but the entry's, no randomness, no order of a hash map. A body
/// that cannot be read is refused as `Invalid`. An error is only ever the view's own, and stops the shard.
pub trait Machine: Send + Sync + 'static {
    /// The newest command version that it knows; it knows all before it.
    fn version(&self) -> u16;

    /// Applies one command. Changes are kept only when the outcome is `Ok`.
    fn apply(&self, view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError>;
}

/// What was made of an appended command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Where it is in the log. For a command that had been appended before, where it was then.
    pub sequence: u64,
    /// Its outcome.
    pub outcome: Applied,
}

/// How current a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadLevel {
    /// As far as this node has applied. Never waits.
    #[default]
    Local,
    /// At least up to this entry: with the sequence of an own write, read-your-writes.
    AtLeast(u64),
    /// Not older than any write that was acknowledged anywhere before the read began.
    Linearizable,
}

/// How a shard is on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShardState {
    /// Reading what it does not have yet, or waiting for the log.
    #[default]
    CatchingUp,
    /// Follows the log.
    Following,
    /// The log is out of reach: reads are stale, writes are refused.
    CutOff,
    /// What is here did not agree with the log: being made anew from a snapshot and the log.
    Rebuilding,
    /// It met something that it must not skip. Needs a person: the detail says what.
    Stopped,
}

impl ShardState {
    /// The state in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CatchingUp => "catching up",
            Self::Following => "following",
            Self::CutOff => "cut off",
            Self::Rebuilding => "rebuilding",
            Self::Stopped => "stopped",
        }
    }
}

/// A shard on this node, for people and for watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    /// Which one.
    pub shard: Shard,
    /// How it is.
    pub state: ShardState,
    /// Why, in one sentence.
    pub detail: Option<Arc<str>>,
    /// The last entry that was applied here; 0 for none.
    pub applied: u64,
    /// The last entry of the log, as far as it is known.
    pub last: u64,
    /// The first entry that the log still holds.
    pub first: u64,
    /// The running hash after `applied`, in hex: equal on all nodes that have applied the same.
    pub hash: Arc<str>,
    /// How many servers keep the log: 1, or the replicas of its stream.
    pub replicas: u8,
    /// How long the log has been out of reach.
    pub stale: Option<Duration>,
}

/// What a closure that reads a view is called with: the view, and the sequence of the last entry that it holds.
pub type Read<'a> = dyn FnMut(&dyn View, u64) -> Result<()> + Send + 'a;

/// The durable ordered log of every shard, and this node's views: on sled alone, or on JetStream with sled. Both pass one contract suite.
///
/// Laws:
/// - one total order per shard; sequences are contiguous; every node applies the same entries in that order, each once;
/// - a receipt means that the entry is durable and applied on this node: reads here see it from then on. It survives `kill -9` of any
///   broker node and, on three replicas, of any one NATS server;
/// - an operation id is applied once, however often it is appended within the last [`OPERATIONS_KEPT`] entries: later appends get the
///   first one's receipt. The id alone says which command it is: one that comes again with another body, or of another principal, is not
///   applied, and gets that receipt too. Who takes ids from callers makes the principal and what is wanted part of them;
/// - an error of kind `Unavailable` or `Overloaded` means that the command is not in the log and will not be; after
///   `DeadlineExceeded` it may be: appending the same operation again finds out. An error of that second append speaks for both on the node
///   of the first one, elsewhere only for itself;
/// - `TooLarge` for a command above [`MAX_COMMAND_BYTES`];
/// - a shard that is not [`ShardState::Following`] refuses writes at once with `Unavailable`, and says why.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Appends a command, and returns when it is durable and applied here.
    async fn append(&self, shard: Shard, command: Command, deadline: Instant) -> Result<Receipt>;

    /// Waits until this node's view is as current as wanted; returns the sequence of the last entry applied.
    async fn reach(&self, shard: Shard, level: ReadLevel, deadline: Instant) -> Result<u64>;

    /// Reads the view. Nothing is applied to the shard while the closure runs, so it is short and bounded.
    fn read(&self, shard: Shard, read: &mut Read<'_>) -> Result<()>;

    /// Tells of each entry that was applied, by its sequence; intermediate ones may be skipped. A shard whose view was made anew may go back.
    fn applied(&self, shard: Shard) -> watch::Receiver<u64>;

    /// How the shards are.
    fn status(&self) -> Vec<ShardStatus>;
}

/// Largest command in bytes, everything included: a message of NATS with room for its headers.
pub const MAX_COMMAND_BYTES: usize = 900 * 1024;

/// Entries of a shard within which an operation id is known.
pub const OPERATIONS_KEPT: u64 = 65_536;
