//! The sections about what is durable: the ledger, and the shared context on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The ledger: the durable log behind the registry and the shared context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ledger {
    /// Where the log is kept.
    pub(crate) store: LedgerStore,
    /// How many NATS servers keep the log: 1, 3 or 5. Three survive the loss of any one. Default: 3 where the servers
    /// that keep it are a cluster, else 1.
    pub(crate) replicas: Option<u8>,
    /// What is done before a write on this node alone is acknowledged.
    pub(crate) durability: Durability,
    /// Entries of a shard between two snapshots in JetStream's object store. Default: 10000.
    #[schemars(range(min = 1))]
    pub(crate) snapshot_every: Option<u64>,
    /// Entries before a snapshot that stay in the log, so that nodes that were away a short time read on instead of taking the snapshot.
    /// Default: 1000.
    #[schemars(range(min = 1))]
    pub(crate) keep_entries: Option<u64>,
}

/// Where the log is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LedgerStore {
    /// In JetStream with `[nats]`, else on this node.
    #[default]
    Auto,
    /// In the data folder of this node, for this node alone: other nodes do not see what is registered and written here.
    Local,
    /// In JetStream, for all nodes of the tenant. Needs `[nats]`.
    Jetstream,
}

/// What is done before a write on this node alone is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// It is handed to the operating system: it survives the end of the process by any means, not that of the machine.
    #[default]
    Process,
    /// It is on the disk: it survives a loss of power too, and takes as long as the disk takes.
    Disk,
}

/// The context that agents share: named spaces of keys and JSON values. Quotas go with each write of this node, so that every node decides
/// alike; a quota that is lowered keeps what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ContextSection {
    /// `false` runs the node without a shared context; it still follows that of the other nodes.
    pub(crate) enabled: bool,
    /// `false` keeps the tools `context__…` and the resources `ctx://…` from MCP clients. gRPC and `spanwire ctx` are left.
    pub(crate) expose: bool,
    /// Largest value of a key, in bytes of JSON.
    #[schemars(range(min = 1, max = 655_360))]
    pub(crate) max_value_bytes: u64,
    /// Keys of one space.
    #[schemars(range(min = 1))]
    pub(crate) max_keys: u64,
    /// Bytes of all keys and values of one space.
    #[schemars(range(min = 1))]
    pub(crate) max_bytes: u64,
    /// Changes of one space that are kept for `log`, and for watches that go on where they broke off.
    #[schemars(range(min = 1))]
    pub(crate) log_events: u64,
}

impl Default for ContextSection {
    fn default() -> Self {
        Self {
            enabled: true,
            expose: true,
            max_value_bytes: 256 * 1024,
            max_keys: 10_000,
            max_bytes: 64 * 1024 * 1024,
            log_events: 10_000,
        }
    }
}
