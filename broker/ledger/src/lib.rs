//! The durable ordered log and its views.
//!
//! One log per shard; every node applies the same entries in the same order to its own view, which is in sled (`shard.rs`, `step.rs`), and
//! keeps a running hash of what came of it (`position.rs`). Where the log is, is all that differs: on a node alone it is in the same sled
//! database; in a cluster it is on JetStream, and the view here can be made anew from a snapshot (`snapshot.rs`) and what follows it.

mod applier;
mod backup;
mod cells;
mod error;
mod jetstream;
mod kept;
mod leases;
mod local;
mod observe;
mod operations;
mod position;
mod prepare;
mod renew;
mod sealed;
mod shard;
mod snapshot;
mod step;
mod store;
mod view;
mod wire;

pub use backup::{Backup, BackupError, Backups, inspect, restore, split};
pub use jetstream::{
    JetStreamLedger, JetStreamOptions, Kept, SurveyError, SurveyedStream, restore_into_streams, survey,
};
pub use leases::{JetStreamLeases, JetStreamLeasesConfig, MAX_LEASE_NAME, MIN_LEASE_TTL, MemoryLeases};
pub use local::LocalLedger;
pub use store::{Durability, SledStore};

#[cfg(test)]
mod contract;
#[cfg(test)]
mod testing;
