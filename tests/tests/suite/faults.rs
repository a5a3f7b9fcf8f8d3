//! What breaks, and what must not: each test breaks one thing in mid-call and knows the one outcome, within its deadline, with
//! nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backup;
mod client;
mod client_gone;
mod cluster;
mod counting;
mod crowd;
mod large;
mod leaks;
mod ledger_killed;
mod nats_restarted;
mod node_killed;
mod node_stopped;
mod refused;
mod rig;
mod rolling;
mod server;
mod server_killed;
mod silent_server;

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Longest that anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}
