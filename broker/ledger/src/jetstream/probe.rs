//! Asks a log again and again how it is: the sign of life that writes depend on, and what notices a feed that brings nothing.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    Inner,
    log::Log,
    streams::{Facts, Trouble},
};
use crate::position::Position;

/// How often a log is asked how it is.
const PROBE_EVERY: Duration = Duration::from_millis(700);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Answers in a row that do not fit to what is here, before the follower looks for itself.
const STRANGE: u32 = 3;
/// Answers in a row after which a feed that should bring entries and does not is opened again.
const STALLED: u32 = 4;

/// Probes a log for ever.
pub(super) async fn run(inner: &Inner, log: &Log) {
    let (mut strange, mut stalled) = (0, 0);
    let mut last: Option<u64> = None;
    let mut feed = 0;
    loop {
        sleep(spanwire_nats::jittered(PROBE_EVERY)).await;
        // A feed has its own time to bring something.
        let current = log.feeds.load(Ordering::Acquire);
        if current != feed {
            (feed, stalled) = (current, 0);
        }
        // Before it is asked: what is applied meanwhile is no news to the log.
        let Ok(position) = inner.position(log.shard) else { continue };
        match timeout(PROBE_TIMEOUT, inner.streams.facts(log.shard)).await {
            Ok(Ok(facts)) => {
                strange = if fits(&position, &facts) { 0 } else { strange + 1 };
                let stands = last == Some(position.sequence) && position.sequence < facts.last;
                stalled = if stands { stalled + 1 } else { 0 };
                log.told(facts);
            }
            Ok(Err(trouble)) => {
                strange = if trouble == Trouble::Missing { strange + 1 } else { 0 };
                log.failed(&trouble);
            }
            Err(_) => log.failed(&Trouble::NoAnswer("timed out".into())),
        }
        last = Some(position.sequence);
        if strange >= STRANGE || stalled >= STALLED {
            (strange, stalled) = (0, 0);
            log.look_again.notify_one();
        }
    }
}

/// False when what is here is not of this log.
fn fits(position: &Position, facts: &Facts) -> bool {
    position.sequence <= facts.last && position.stream.as_ref().is_none_or(|stream| *stream == facts.identity)
}
