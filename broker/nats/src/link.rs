//! The state of a connection, and when it is tried again.

use std::time::Duration;

use async_nats::{Client, Event};
use tokio::sync::watch;
use uuid::Uuid;

/// The oldest server that has what a cluster of brokers needs.
const OLDEST_SERVER: (i64, i64, i64) = (2, 11, 0);
/// Longest wait between two attempts to connect again.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(4);

/// What has happened to the connection so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// True while there is one.
    pub connected: bool,
    /// How often it was made.
    pub connects: u64,
    /// How often the client had to drop messages because a subscription was full.
    pub overflows: u64,
}

pub(super) fn note(state: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => state.send_modify(|link| {
            link.connected = true;
            link.connects += 1;
        }),
        Event::Disconnected | Event::Closed => state.send_modify(|link| link.connected = false),
        Event::SlowConsumer(_) => state.send_modify(|link| link.overflows += 1),
        Event::ServerError(error) => tracing::warn!(%error, "nats server reported an error"),
        Event::ClientError(error) => tracing::debug!(%error, "nats client reported an error"),
        Event::LameDuckMode | Event::Draining => {}
    }
}

/// Logs it when a server is too old. Call it after each connect: a connection in the background has no version at first.
pub fn check_version(client: &Client) {
    let (major, minor, patch) = OLDEST_SERVER;
    if let Some(info) = client.try_server_info()
        && !client.is_server_compatible(major, minor, patch)
    {
        tracing::warn!(version = info.version, "nats server is older than {major}.{minor}: upgrade it");
    }
}

/// Doubles from 50 ms up to the longest wait, less a random part of up to a half, so that nodes do not come back as one.
pub(super) fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let full = Duration::from_millis(50).saturating_mul(1 << doublings).min(MAX_RECONNECT_DELAY);
    jittered(full)
}

/// Less a random part of up to a half, so that nodes do not all do the same at the same moment.
pub fn jittered(full: Duration) -> Duration {
    let random = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
    full.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_limit() {
        for attempt in 0..70 {
            let delay = reconnect_delay(attempt);
            assert!(delay >= Duration::from_millis(25) && delay <= MAX_RECONNECT_DELAY, "{attempt}: {delay:?}");
        }
    }
}
