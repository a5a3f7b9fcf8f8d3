//! What a space may hold.
//!
//! The limits that a node is configured with travel in each command that it appends, so that every node decides alike, whatever its own
//! configuration says. No command gets past the machine's own ceilings.

use serde::{Deserialize, Serialize};

/// Limits of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Bytes of one value.
    pub value_bytes: u64,
    /// Keys of one space.
    pub keys: u64,
    /// Bytes of all keys and values of one space.
    pub bytes: u64,
    /// Events that the log of one space keeps; the oldest go.
    pub log_events: u64,
    /// Bytes of the log of one space; the oldest events go.
    pub log_bytes: u64,
    /// Spaces of one shard.
    pub spaces: u64,
    /// Operations, and conditions, of one transaction.
    pub operations: u64,
}

impl Quotas {
    /// What no configuration exceeds. A value must fit into a command, and what one command does must stay bounded.
    pub const CEILING: Self = Self {
        value_bytes: 640 * 1024,
        keys: 100_000,
        bytes: 1024 * 1024 * 1024,
        log_events: 100_000,
        log_bytes: 1024 * 1024 * 1024,
        spaces: 100_000,
        operations: 128,
    };

    /// The same, with nothing above the ceiling.
    #[must_use]
    pub fn capped(self) -> Self {
        let ceiling = Self::CEILING;
        Self {
            value_bytes: self.value_bytes.min(ceiling.value_bytes),
            keys: self.keys.min(ceiling.keys),
            bytes: self.bytes.min(ceiling.bytes),
            log_events: self.log_events.min(ceiling.log_events),
            log_bytes: self.log_bytes.min(ceiling.log_bytes),
            spaces: self.spaces.min(ceiling.spaces),
            operations: self.operations.min(ceiling.operations),
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            value_bytes: 256 * 1024,
            keys: 10_000,
            bytes: 64 * 1024 * 1024,
            log_events: 10_000,
            log_bytes: 16 * 1024 * 1024,
            spaces: 1000,
            operations: 128,
        }
    }
}
