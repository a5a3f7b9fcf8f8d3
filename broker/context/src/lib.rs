//! The context that agents share: named spaces of keys and JSON values, with a log of what happened to them.
//!
//! A space lives in one shard of the ledger. Every write is one command; [`ContextMachine`] says what it does, the same on every node; what it
//! made is read from this node's view. **The version of a key is the sequence of the entry that wrote it**, and what a watch goes on
//! from is a sequence too.
//!
//! [`Contexts`] is the broker's own hand in it; [`OnBehalf`] is that of a principal, which sees what it may see.

mod access;
mod behalf;
mod command;
mod duty;
mod layout;
mod machine;
mod name;
mod patch;
mod quota;
mod reads;
mod server;
mod service;
mod types;
mod watch;
mod write;

pub use access::{Access, AllowAll, AllowList, Rule, Verb};
pub use behalf::OnBehalf;
pub use duty::{DUTY, EXPIRY};
pub use machine::ContextMachine;
pub use name::{InvalidName, Key, SpaceName};
pub use quota::Quotas;
pub use server::connect;
pub use service::{Config, Contexts};
pub use types::{
    Changed, Condition, Event, EventKind, EventPage, Expect, Item, ItemPage, ListQuery, LogQuery, Operation, Options,
    Reading, Seen, SpaceInfo, SpacePage, Transaction, Watch, Writer, Written,
};

/// Most keys or events that one page has.
pub const MAX_PAGE: usize = 1000;

/// Bytes of values after which a page ends.
pub const MAX_PAGE_BYTES: u64 = 1024 * 1024;

/// Largest value that an event carries, in bytes; a larger one is read from its key.
pub const MAX_EVENT_VALUE: usize = 16 * 1024;

#[cfg(test)]
mod tests;
