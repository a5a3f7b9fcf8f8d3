//! Who may do what only one may do at a time.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{NodeId, Result};

/// A lease as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Who has it.
    pub node: NodeId,
    /// The fencing token: larger for each new holder of the name. The same for the whole time that one holder has it.
    pub token: u64,
}

/// All leases that somebody has, by name.
pub type Holdings = BTreeMap<Arc<str>, Holding>;

/// Leases: on one node alone, or in a JetStream bucket. Both pass one contract suite.
///
/// Laws: at most one valid [`Lease`] of a name exists at a time, also when processes are paused or cut off: a holder's own clock ends its
/// lease before anybody else can take it. A lease is renewed by itself until it is dropped or released, or cannot be renewed in time;
/// then it is lost for good. Tokens of one name only grow.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes a lease; `None` when somebody else has it. At least 3 seconds.
    ///
    /// # Errors
    /// `Unavailable` when the leases are out of reach.
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>>;

    /// Who has which, now and after each change; intermediate ones may be skipped. While the leases are out of reach it is as it was.
    fn watch(&self) -> watch::Receiver<Arc<Holdings>>;
}

/// A lease that this node has. Dropping it gives it back in the background.
pub struct Lease {
    name: Arc<str>,
    token: u64,
    /// Its token is cancelled by the keeper when the lease is lost, and here when it is given back.
    fence: Fence,
    released: CancellationToken,
    done: CancellationToken,
    /// It is not given back when it is dropped.
    lapses: bool,
}

/// The side of a [`Lease`] that renews it.
#[derive(Debug)]
pub struct LeaseKeeper {
    /// Set forward with each renewal: the moment, by this node's own clock, from which the lease is no longer relied on.
    pub valid_until: watch::Sender<Instant>,
    /// What `valid_until` does not count: the time in which the machine is suspended. Say from when on, with each renewal.
    pub awake: Arc<Awake>,
    /// Cancel it when the lease is lost. Cancelled while `released` is not, the holder wants it to run out: do not renew it any more.
    pub lost: CancellationToken,
    /// Cancelled when the holder wants to give it back, or has dropped it.
    pub released: CancellationToken,
    /// Cancel it when it is given back.
    pub done: CancellationToken,
}

impl Lease {
    /// A lease and the side that keeps it.
    pub fn new(name: impl Into<Arc<str>>, token: u64, valid_until: Instant) -> (Self, LeaseKeeper) {
        Self::with_clock(name.into(), token, valid_until, suspended)
    }

    fn with_clock(
        name: Arc<str>,
        token: u64,
        valid_until: Instant,
        suspended: fn() -> Duration,
    ) -> (Self, LeaseKeeper) {
        let (sender, receiver) = watch::channel(valid_until);
        let awake = Arc::new(Awake { suspended, before_ms: AtomicU64::new(0) });
        awake.since(suspended());
        let lease = Self {
            name,
            token,
            fence: Fence { valid_until: receiver, awake: awake.clone(), lost: CancellationToken::new() },
            released: CancellationToken::new(),
            done: CancellationToken::new(),
            lapses: false,
        };
        let keeper = LeaseKeeper {
            valid_until: sender,
            awake,
            lost: lease.fence.lost.clone(),
            released: lease.released.clone(),
            done: lease.done.clone(),
        };
        (lease, keeper)
    }

    /// What it is for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// True while it may be relied on. Cheap: asked before each act that needs it, since a process may have been paused.
    pub fn is_valid(&self) -> bool {
        self.fence.is_valid()
    }

    /// Something that says the same without holding the lease.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Returns when it is no longer valid.
    pub async fn lost(&self) {
        self.fence.lost().await;
    }

    /// Gives it back, and returns when others can take it, or after the time given.
    pub async fn release(self, within: Duration) {
        self.released.cancel();
        let _ = tokio::time::timeout(within, self.done.cancelled()).await;
    }

    /// Ends it for this node without giving it back: nobody else can take it before its time is over. For a holder that cannot say
    /// that what ran under it is gone.
    pub fn lapse(mut self) {
        self.lapses = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // In this order: whoever sees that it is lost can see why.
        if !self.lapses {
            self.released.cancel();
        }
        self.fence.lost.cancel();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name).field("token", &self.token).finish_non_exhaustive()
    }
}

/// Whether the machine has slept since a lease was last renewed. [`Instant`] stands still in that time, and the lease of a node that slept
/// may be another node's when it wakes.
#[derive(Debug)]
pub struct Awake {
    suspended: fn() -> Duration,
    /// What `suspended` was when the renewal was sent, in milliseconds.
    before_ms: AtomicU64,
}

impl Awake {
    /// The lease is as old as this from now on: what [`suspended`] was before the renewal was sent.
    pub fn since(&self, suspended: Duration) {
        self.before_ms.store(u64::try_from(suspended.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// The time that [`Instant`] has missed since then.
    pub fn missed(&self) -> Duration {
        let now_ms = u64::try_from((self.suspended)().as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(now_ms.saturating_sub(self.before_ms.load(Ordering::Acquire)))
    }
}

/// How long this machine has been suspended since it was started. Always zero where the system does not tell.
pub fn suspended() -> Duration {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let duration = |time: Timespec| {
            let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
            Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
        };
        // In this order: a pause between the two makes it shorter, and so a lease that was renewed then end earlier, never later.
        let since_start = duration(clock_gettime(ClockId::Boottime));
        since_start.saturating_sub(duration(clock_gettime(ClockId::Monotonic)))
    }
    #[cfg(not(target_os = "linux"))]
    Duration::ZERO
}

/// How often whoever waits for the loss of a lease looks whether the machine was suspended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Knows whether a lease is still valid.
#[derive(Debug, Clone)]
pub struct Fence {
    valid_until: watch::Receiver<Instant>,
    awake: Arc<Awake>,
    lost: CancellationToken,
}

impl Fence {
    /// True while the lease may be relied on.
    pub fn is_valid(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() + self.awake.missed() < *self.valid_until.borrow()
    }

    /// Until when it may be relied on if nobody renews it; in the past when it is lost.
    pub fn valid_until(&self) -> Instant {
        let until = *self.valid_until.borrow();
        let now = Instant::now();
        if self.lost.is_cancelled() {
            return until.min(now);
        }
        until.checked_sub(self.awake.missed()).unwrap_or(now)
    }

    /// Returns when [`Fence::valid_until`] has changed, by a renewal or a loss; never again after a loss.
    pub async fn changed(&mut self) {
        if self.lost.is_cancelled() {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            () = self.lost.cancelled() => {}
            changed = self.valid_until.changed() => if changed.is_err() {
                // Nobody renews it any more: what is left is that it is lost.
                self.lost.cancelled().await;
            }
        }
    }

    /// Returns when the lease is no longer valid.
    pub async fn lost(&self) {
        let mut renewed = self.valid_until.clone();
        while self.is_valid() {
            // Instants miss the time in which the machine is suspended: it is asked again before long.
            let until = self.valid_until().min(Instant::now() + LOOK_EVERY);
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = tokio::time::sleep_until(until) => {}
                // Without a keeper nothing renews it any more: what is left is its time.
                Ok(()) = renewed.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
