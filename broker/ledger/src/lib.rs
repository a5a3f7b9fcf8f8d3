//! The durable ordered log and its views.

mod leases;

pub use leases::{JetStreamLeases, JetStreamLeasesConfig, MAX_LEASE_NAME, MIN_LEASE_TTL, MemoryLeases};
