//! Sees to it that keys go when their time is over.
//!
//! A machine has no clock, and a read looks at none: a key goes when an `expire` command comes by in the log, and what is due then is
//! decided by the log's own time. One node of all appends these commands: the one that has the lease. Two nodes that do would do no harm.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use spanwire_model::{Author, Lease, Leases, ReadLevel, Result, Shard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Contexts, Options, Reading,
    command::{self, Body, Expired},
    reads, write,
};

/// The name of the lease. Its own, so that whoever has another duty does not need this one.
pub const DUTY: &str = "duty.context";

/// The principal that wrote what expired in the log of a space, and that it made room for a new one.
pub const EXPIRY: &str = "spanwire";

/// How often what is due is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the lease is taken for, and how long giving it back may take.
const LEASE_TTL: Duration = Duration::from_secs(10);
/// How long one command may take.
const APPEND_WITHIN: Duration = Duration::from_secs(5);
/// Keys that one command removes at most: what one entry does is bounded.
const AT_A_TIME: u16 = 256;
/// Commands for one shard in a row; the rest is done a second later.
const ROUNDS: usize = 16;

impl Contexts {
    /// Has keys removed whose time is over, while this node has the lease [`DUTY`]. Returns when it is stopped, and gives the lease
    /// back.
    pub async fn expire(self, leases: Arc<dyn Leases>, stop: CancellationToken) {
        let holdings = leases.watch();
        let mut lease: Option<Lease> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let is_theirs = holdings.borrow().get(DUTY).is_some_and(|holding| holding.node != *self.node());
            if lease.as_ref().is_none_or(|lease| !lease.is_valid()) && !is_theirs {
                lease = leases.acquire(DUTY, LEASE_TTL).await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "the lease of the context's expiry is out of reach");
                    None
                });
            }
            let Some(lease) = lease.as_ref().filter(|lease| lease.is_valid()) else { continue };
            for shard in Self::shards() {
                if let Err(error) = self.expire_shard(shard, lease).await {
                    // The shard itself has said that it is out of reach.
                    tracing::debug!(%shard, %error, "keys that are due stay for now");
                }
            }
        }
        if let Some(lease) = lease {
            lease.release(LEASE_TTL).await;
        }
    }

    async fn expire_shard(&self, shard: Shard, lease: &Lease) -> Result<()> {
        for _ in 0..ROUNDS {
            let reading = Reading { level: ReadLevel::Local, deadline: Instant::now() };
            let due = self.read(shard, reading, reads::next_due).await?.value;
            if due.is_none_or(|due_ms| due_ms > now_ms()) || !lease.is_valid() {
                return Ok(());
            }
            let body = Body::Expire { limit: AT_A_TIME, quotas: *self.quotas() };
            let author = Author { principal: EXPIRY.into(), node: self.node().clone(), call: None, trace: None };
            let options = Options { operation: None, deadline: Instant::now() + APPEND_WITHIN };
            let receipt = write::append(self, &author, shard, command::VERSION, &body, options).await?;
            let expired: Expired = write::read(receipt.outcome?)?;
            // The log's clock may be behind this one: nothing was due by it.
            if expired.expired < u64::from(AT_A_TIME) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
