//! When a node that starts knows enough of the others to be sent traffic. No clock in here: the time is given.

use std::time::Duration;

use tokio::time::Instant;

/// Longest that a peer is waited for that is heard and does not tell its servers, after every node had time to speak: one that is
/// sick must not keep others from their traffic.
const STATE_PATIENCE: Duration = Duration::from_secs(30);

/// How far a node is that listens for the others.
#[derive(Debug)]
pub(crate) struct Settling {
    /// By then every node that is there has spoken once.
    listen: Duration,
    /// Since when the others can be heard.
    since: Option<Instant>,
}

impl Settling {
    /// It has not begun to listen.
    pub(crate) fn new(listen: Duration) -> Self {
        Self { listen, since: None }
    }

    /// True when the others had time to speak, and their servers are known or were waited for in vain. Without a connection nobody is
    /// heard: the time begins again with the next one.
    pub(crate) fn is_over(&mut self, is_connected: bool, knows_all: bool, now: Instant) -> bool {
        let listened = self.listened(is_connected, now);
        listened
            .is_some_and(|listened| listened >= self.listen && (knows_all || listened >= self.listen + STATE_PATIENCE))
    }

    /// True when the others had time to speak, and this node is still there to hear them.
    pub(crate) fn has_heard(&mut self, is_connected: bool, now: Instant) -> bool {
        self.listened(is_connected, now).is_some_and(|listened| listened >= self.listen)
    }

    fn listened(&mut self, is_connected: bool, now: Instant) -> Option<Duration> {
        if !is_connected {
            self.since = None;
            return None;
        }
        Some(now.saturating_duration_since(*self.since.get_or_insert(now)))
    }
}

#[cfg(test)]
mod tests;
