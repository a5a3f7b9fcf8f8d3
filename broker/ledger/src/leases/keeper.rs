//! Keeps one lease: renews it until it is given back or cannot be renewed in time.

use std::{sync::Arc, time::Duration};

use spanwire_model::{LeaseKeeper, suspended};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    bucket::{Bucket, Written},
    entry::{Entry, Value, unique},
};

/// The holder stops this long before the bucket lets others in, at least: servers' clocks differ, and what is on its way takes time.
const MIN_MARGIN: Duration = Duration::from_millis(500);
/// The part of the time to live that the margin is.
const MARGIN_PART: u32 = 10;
/// The part of the time to live after which it is renewed.
const RENEW_PART: u32 = 3;
/// Longest time between two renewals: what a longer time to live gives is all patience with an election.
const RENEW_AT_MOST: Duration = Duration::from_secs(3);
/// The part of the time to live after which a renewal that failed is tried again.
const RETRY_PART: u32 = 12;
/// How often the bucket is told that a lease is given back, before its time to live has to do.
const GIVE_BACK_TRIES: usize = 5;

/// A lease that this process has taken.
#[derive(Debug)]
pub(super) struct Held {
    name: Arc<str>,
    /// What each renewal says, but for the attempt.
    value: Value,
    ttl: Duration,
    /// The last message of the name that is known to be ours.
    revision: u64,
    /// Attempts since then, and when each was sent. One of them may be stored without our knowing.
    attempts: Vec<(Arc<str>, Sent)>,
    renew_at: Instant,
}

/// When a message was sent, by the clock of this process and by that of the machine, which goes on while it is suspended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) suspended: Duration,
}

impl Sent {
    /// What is sent after this.
    pub(super) fn now() -> Self {
        Self { suspended: suspended(), at: Instant::now() }
    }
}

/// What is known after an attempt.
enum Outcome {
    /// It was renewed by what was sent then.
    Renewed(Sent),
    /// Not renewed; it can be tried again.
    Again,
    /// Somebody else has it, or nobody.
    Lost(&'static str),
}

/// Until when a lease may be relied on that was taken or renewed by a message sent at this time.
pub(super) fn valid_until(sent: Instant, ttl: Duration) -> Instant {
    sent + ttl - (ttl / MARGIN_PART).max(MIN_MARGIN)
}

/// When a lease is renewed that was taken or renewed by a message sent at this time.
fn renew_at(sent: Instant, ttl: Duration) -> Instant {
    sent + (ttl / RENEW_PART).min(RENEW_AT_MOST)
}

impl Held {
    /// A lease that was taken by the message with this sequence, which is its token.
    pub(super) fn new(name: Arc<str>, value: Value, ttl: Duration, token: u64, sent: Sent) -> Self {
        let value = Value { token: Some(token), ..value };
        Self { name, value, ttl, revision: token, attempts: Vec::new(), renew_at: renew_at(sent.at, ttl) }
    }

    /// Runs until the lease is lost or given back.
    pub(super) async fn keep(mut self, bucket: Arc<Bucket>, keeper: LeaseKeeper) {
        loop {
            let until = *keeper.valid_until.borrow();
            tokio::select! {
                biased;
                () = keeper.released.cancelled() => {
                    self.give_back(&bucket, until).await;
                    break;
                }
                () = keeper.lost.cancelled() => {
                    // Its time runs out, unless it was given back at this moment.
                    if keeper.released.is_cancelled() {
                        self.give_back(&bucket, until).await;
                    }
                    break;
                }
                () = sleep_until(until) => {
                    tracing::warn!(lease = %self.name, token = self.value.token, "lease is lost: it could not be renewed in time");
                    break;
                }
                () = sleep_until(self.renew_at) => {}
            }
            match self.renew(&bucket, until).await {
                // Too late is lost: its users know by their own clock, and it does not come back. Nor is it given back: what ran under it
                // may be about to be killed only now, and has this time for it.
                Outcome::Renewed(_) if Instant::now() + keeper.awake.missed() >= until => {
                    tracing::warn!(lease = %self.name, token = self.value.token, "lease is lost: it was renewed too late");
                    break;
                }
                Outcome::Renewed(sent) => {
                    // In this order: whoever is told of the new moment goes by when it was asked for.
                    keeper.awake.since(sent.suspended);
                    keeper.valid_until.send_replace(valid_until(sent.at, self.ttl));
                }
                Outcome::Again => self.renew_at = Instant::now() + self.retry_pause(),
                Outcome::Lost(why) => {
                    tracing::warn!(lease = %self.name, token = self.value.token, "lease is lost: {why}");
                    break;
                }
            }
        }
        keeper.lost.cancel();
        keeper.done.cancel();
    }

    /// Not all at once, after all of them failed at once.
    fn retry_pause(&self) -> Duration {
        spanwire_nats::jittered(self.ttl / RETRY_PART)
    }

    async fn renew(&mut self, bucket: &Bucket, until: Instant) -> Outcome {
        let value = Value { attempt: unique(), ..self.value.clone() };
        // From before it is sent: the server's time to live begins after this, whatever happens on the way.
        let sent = Sent::now();
        self.attempts.push((value.attempt.clone(), sent));
        match bucket.write(&self.name, self.revision, &value, self.ttl, until).await {
            Written::At(revision) => self.renewed(revision, sent),
            Written::Conflict => self.look(bucket).await,
            Written::Unknown(error) => {
                tracing::debug!(lease = %self.name, %error, "lease is not renewed yet");
                self.look(bucket).await
            }
        }
    }

    /// What is the last message? One of our attempts, or somebody else's.
    async fn look(&mut self, bucket: &Bucket) -> Outcome {
        match bucket.read(&self.name).await {
            Ok(Entry::Held { revision, .. }) if revision == self.revision => Outcome::Again,
            Ok(Entry::Held { revision, value }) if self.is_ours(revision, &value) => {
                let attempt =
                    self.attempts.iter().find(|(attempt, _)| *attempt == value.attempt).map(|(_, sent)| *sent);
                attempt.map_or(Outcome::Again, |sent| self.renewed(revision, sent))
            }
            Ok(Entry::Held { .. }) => Outcome::Lost("another node has taken it"),
            Ok(Entry::Free { .. }) => Outcome::Lost("it has expired"),
            Ok(Entry::Strange) => Outcome::Lost("something else is in its place"),
            Err(_) => Outcome::Again,
        }
    }

    fn is_ours(&self, revision: u64, value: &Value) -> bool {
        value.incarnation == self.value.incarnation && Some(value.token(revision)) == self.value.token
    }

    fn renewed(&mut self, revision: u64, sent: Sent) -> Outcome {
        self.revision = revision;
        self.attempts.clear();
        self.renew_at = renew_at(sent.at, self.ttl);
        Outcome::Renewed(sent)
    }

    /// Lets others take it at once. After `until` it ends by itself, soon.
    async fn give_back(&mut self, bucket: &Bucket, until: Instant) {
        for _ in 0..GIVE_BACK_TRIES {
            match bucket.give_back(&self.name, self.revision, until).await {
                Written::At(_) => return,
                Written::Conflict | Written::Unknown(_) => {}
            }
            // A renewal before this one may have been stored without our knowing; what is not ours is not ours to end.
            match bucket.read(&self.name).await {
                Ok(Entry::Held { revision, value }) if self.is_ours(revision, &value) => self.revision = revision,
                Ok(Entry::Held { .. } | Entry::Free { .. } | Entry::Strange) => return,
                Err(_) => {}
            }
            if Instant::now() >= until {
                return;
            }
            sleep(self.retry_pause()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_stops_before_others_may_begin() {
        let sent = Instant::now();
        for (ttl_ms, margin_ms) in [(3_000, 500), (5_000, 500), (15_000, 1_500), (60_000, 6_000)] {
            let ttl = Duration::from_millis(ttl_ms);
            assert_eq!(valid_until(sent, ttl), sent + ttl - Duration::from_millis(margin_ms));
            // Room for a second try, and for an election where the time to live allows for one.
            assert!(renew_at(sent, ttl) <= sent + (ttl / 3).min(Duration::from_secs(3)));
        }
    }
}
