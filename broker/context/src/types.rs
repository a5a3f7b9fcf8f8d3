//! What is written to a space and what is read from it.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use serde::{Deserialize, Serialize};
use spanwire_mcp::Json;
use spanwire_model::{Author, NodeId, ReadLevel, Result};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Key, SpaceName};

/// What becomes of a space in one step: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What must hold before it.
    #[serde(default, rename = "if", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// What is done, in this order. A key stands in one operation at most.
    #[serde(rename = "do")]
    pub operations: Vec<Operation>,
}

impl Transaction {
    /// One operation, without conditions.
    pub fn one(operation: Operation) -> Self {
        Self { conditions: Vec::new(), operations: vec![operation] }
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, key: Key, is: Expect) -> Self {
        self.conditions.push(Condition { key, is });
        self
    }
}

/// What must hold of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The key.
    pub key: Key,
    /// What it must be.
    pub is: Expect,
}

/// How a key must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Not there.
    Absent,
    /// There, in any version.
    Exists,
    /// There, in this version.
    Version(u64),
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Sets the value. Without a time to live the key stays, also when it had one before.
    Put {
        /// The key.
        key: Key,
        /// The value, kept byte for byte.
        value: Json,
        /// Milliseconds that it lives at least, from the log's time of the write; it goes within about two seconds after that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
    /// Merges an object into the value (RFC 7396). A key that is not there counts as an empty object. Keeps the time to live.
    PatchMerge {
        /// The key.
        key: Key,
        /// The merge patch.
        patch: Json,
    },
    /// Changes parts of the value (RFC 6902): refused as a conflict where the patch does not fit what is there. Keeps the time to live.
    PatchJson {
        /// The key.
        key: Key,
        /// The JSON patch: an array of operations.
        patch: Json,
    },
    /// Removes the key; nothing happens when it is not there.
    Delete {
        /// The key.
        key: Key,
    },
    /// Adds to the end of the array that the key holds; an absent key holds an empty one. Keeps the time to live.
    Append {
        /// The key.
        key: Key,
        /// What is added, in order; at least one.
        values: Vec<Json>,
    },
}

impl Operation {
    /// The key that is changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. }
            | Self::PatchMerge { key, .. }
            | Self::PatchJson { key, .. }
            | Self::Delete { key }
            | Self::Append { key, .. } => key,
        }
    }
}

/// How a write is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Its id, where the caller may repeat it: a write that the same principal repeats under one id, byte for byte, is done once
    /// and answers the same. Of the caller's own making; under the same id, another write or another principal's is an operation
    /// of its own.
    pub operation: Option<Uuid>,
    /// How long to wait for it.
    pub deadline: Instant,
}

/// A write that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its place in the space's log: what a read gives as [`ReadLevel::AtLeast`] to see it on any node.
    pub sequence: u64,
    /// What became of each operation, in order.
    pub results: Vec<Changed>,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: Key,
    /// Its version now; `None` when it is not there any more.
    pub version: Option<u64>,
    /// Whether a deleted key had been there. True for all other operations.
    pub changed: bool,
    /// For an append: how many elements the array has now.
    pub length: Option<u64>,
}

/// Who wrote a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The name of the principal.
    pub principal: Arc<str>,
    /// The node that it wrote through.
    pub node: NodeId,
    /// The call in which it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Uuid>,
    /// The trace, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<str>>,
    /// The span in it that wrote it, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Arc<str>>,
}

impl From<&Author> for Writer {
    fn from(author: &Author) -> Self {
        Self {
            principal: author.principal.clone(),
            node: author.node.clone(),
            call: author.call,
            trace: author.trace.as_ref().map(|trace| trace.trace_id_hex().into()),
            span: author.trace.as_ref().map(|trace| format!("{:016x}", trace.span_id).into()),
        }
    }
}

/// A key as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// The sequence of the write that made it what it is.
    pub version: u64,
    /// The sequence of the write that made it be there.
    pub created: u64,
    /// The log's time of its version, in milliseconds since 1970.
    pub time_ms: u64,
    /// When it may go, in milliseconds since 1970; `None` for never.
    pub due_ms: Option<u64>,
    /// Bytes of the value.
    pub bytes: u64,
    /// Who wrote the version.
    pub writer: Writer,
    /// The value; `None` where it was not asked for.
    pub value: Option<Json>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// Its value was set.
    Put,
    /// Its value was patched.
    Patch,
    /// Something was added to its array.
    Append,
    /// It was removed.
    Delete,
    /// Its time to live was over.
    Expire,
    /// The whole space was removed.
    Drop,
}

impl EventKind {
    /// The kind in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Append => "append",
            Self::Delete => "delete",
            Self::Expire => "expire",
            Self::Drop => "drop",
        }
    }
}

/// One thing that happened in a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The write that it belongs to; the events of one write have one sequence, and come in the order of its operations.
    pub sequence: u64,
    /// Which of the write's events it is, from 0.
    pub index: u16,
    /// The log's time, in milliseconds since 1970.
    pub time_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// To which key; `None` when the whole space was dropped.
    pub key: Option<Key>,
    /// The key's version since; `None` when it is not there any more.
    pub version: Option<u64>,
    /// Bytes of the value since.
    pub bytes: u64,
    /// The new value of a put or a patch, and the array of what was added by an append. `None` for other kinds, where it was not
    /// asked for, and where it is above [`crate::MAX_EVENT_VALUE`].
    pub value: Option<Json>,
    /// Who did it.
    pub writer: Writer,
}

/// What a read shows, and how current it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<T> {
    /// What was read.
    pub value: T,
    /// The last entry of the space's shard that it reflects.
    pub sequence: u64,
    /// How long the log has been out of reach of this node, in milliseconds; `None` when it is not.
    pub stale_ms: Option<u64>,
}

impl<T> Seen<T> {
    /// The same about something else.
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Seen<U> {
        Seen { value: map(self.value), sequence: self.sequence, stale_ms: self.stale_ms }
    }
}

/// How a read is made.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// How current it must be.
    pub level: ReadLevel,
    /// How long to wait until it is.
    pub deadline: Instant,
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<Key>,
    /// How many at most; 0, and whatever is above, stand for [`crate::MAX_PAGE`].
    pub limit: usize,
    /// Whether to read the values too.
    pub values: bool,
}

/// Keys in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemPage {
    /// The keys.
    pub items: Vec<Item>,
    /// Where the next page goes on: its `after`. `None` at the end.
    pub next: Option<Key>,
}

/// Which events to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// The first sequence; 0 for the oldest event that is kept.
    pub from: u64,
    /// How many at most; 0, and whatever is above, stand for [`crate::MAX_PAGE`]. A write's events are not torn apart, so they may be
    /// more by what one write holds.
    pub limit: usize,
    /// Only keys that begin with this; empty for all.
    pub prefix: String,
    /// Whether to read the values too.
    pub values: bool,
}

/// Events in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// The sequence at which the next page begins. `None` when these are all there are so far.
    pub next: Option<u64>,
    /// The first sequence from which on all events are kept.
    pub first: u64,
}

/// A space. Whoever may not read all of it is told 0 for what it counts, and as `last`, which is never 0 otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceInfo {
    /// Its name.
    pub name: SpaceName,
    /// How many keys it has.
    pub keys: u64,
    /// Bytes of its keys and values.
    pub bytes: u64,
    /// How many events its log has.
    pub events: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// The first sequence from which on all its events are kept.
    pub first: u64,
    /// The last sequence that changed it.
    pub last: u64,
}

/// Spaces in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpacePage {
    /// The spaces.
    pub spaces: Vec<SpaceInfo>,
    /// Where the next page goes on: its `after`. `None` at the end.
    pub next: Option<SpaceName>,
    /// How long the log of a shard has been out of reach of this node, in milliseconds, of the shard where it is longest; `None` when
    /// none is. There is no sequence: these are of several shards.
    pub stale_ms: Option<u64>,
}

/// Events of a space as they happen. Ends after an error only.
pub type Watch = Pin<Box<dyn Stream<Item = Result<Event>> + Send + 'static>>;
