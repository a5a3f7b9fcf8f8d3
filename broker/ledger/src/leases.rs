//! Leases: what only one node may do at a time, on one node alone ([`MemoryLeases`]) and in a cluster ([`JetStreamLeases`]).
//!
//! A lease alone is not mutual exclusion: a process may be paused between looking at its lease and acting. So the holder stops by its
//! own clock before the bucket lets anybody else in, and what it writes carries the fencing token, which only grows, so that whoever
//! applies it can refuse an older one. Both pass one contract suite, `tests/tests/suite/leases.rs`.

mod bucket;
mod entry;
mod jetstream;
mod keeper;
mod memory;
mod watcher;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spanwire_model::{Error, ErrorKind, Result};

pub(crate) use bucket::stream_of;
pub use jetstream::{JetStreamLeases, JetStreamLeasesConfig};
pub use memory::MemoryLeases;

/// Shortest time to live of a lease: the bucket's own clock ticks in seconds.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(3);
/// Longest name of a lease, in bytes.
pub const MAX_LEASE_NAME: usize = 200;

/// A name is tokens of `A-Za-z0-9_-` separated by dots: it is the end of a subject.
fn check(name: &str, ttl: Duration) -> Result<()> {
    let plain =
        |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let wrong = if name.len() > MAX_LEASE_NAME || !name.split('.').all(plain) {
        "use tokens of A-Z, a-z, 0-9, _ and -, separated by dots".to_owned()
    } else if ttl < MIN_LEASE_TTL {
        format!("its time to live is below {MIN_LEASE_TTL:?}")
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(MAX_LEASE_NAME).collect();
    Err(Error::new(ErrorKind::InvalidParams, format!("lease {shown:?}: {wrong}")))
}

/// Where tokens begin when nothing is known of those before: larger than all of them, since they grow by less than one a millisecond.
fn first_token() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
