//! Events of a space as they happen.
//!
//! A watcher reads pages of the log from where it is, and waits for the shard to apply more when it has them all. So a slow watcher costs
//! nobody anything: what it has not read is in the view, or gone by quota, and then it is told so.

use std::{sync::Arc, time::Duration};

use async_stream::try_stream;
use serde_json::json;
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, ReadLevel, Result, Shard, ShardState};
use tokio::time::Instant;

use crate::{Contexts, Key, LogQuery, Reading, SpaceName, Watch, reads};

/// How often a watcher that hears nothing looks how its shard is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Events that a watcher reads at a time.
const AT_A_TIME: usize = 256;

/// Which keys a watcher may see; `None` for the space itself.
pub(crate) type Sees = Arc<dyn Fn(Option<&Key>) -> bool + Send + Sync>;

/// See [`crate::OnBehalf::watch`].
pub(crate) fn watch(
    contexts: &Contexts,
    space: &SpaceName,
    prefix: &str,
    from: Option<u64>,
    values: bool,
    sees: Sees,
) -> Watch {
    let (contexts, space, prefix) = (contexts.clone(), space.clone(), prefix.to_owned());
    let shard = Contexts::shard_of(&space);
    let mut applied = contexts.inner.ledger.applied(shard);
    // "Now" is when the watch was asked for, not when it is first polled.
    let mut from = from.unwrap_or_else(|| *applied.borrow() + 1);
    Box::pin(try_stream! {
        loop {
            applied.mark_unchanged();
            let query = LogQuery { from, limit: AT_A_TIME, prefix: prefix.clone(), values };
            let reading = Reading { level: ReadLevel::Local, deadline: Instant::now() };
            let seen = contexts.read(shard, reading, |view| reads::log(view, &space, &query, &*sees)).await?;
            is_kept(&space, from, seen.value.first)?;
            // A view that is made anew begins further back; nothing is told twice.
            from = seen.value.next.unwrap_or(seen.sequence + 1).max(from);
            let more = seen.value.next.is_some();
            for event in seen.value.events {
                yield event;
            }
            if more {
                continue;
            }
            // What was applied since the page was read is seen as a change.
            loop {
                match tokio::time::timeout(LOOK_EVERY, applied.changed()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(_)) => Err(Error::new(ErrorKind::Unavailable, "the log was closed"))?,
                    Err(_) => is_well(&contexts, shard, from)?,
                }
            }
        }
    })
}

/// Refuses to go on from where events are missing.
pub(crate) fn is_kept(space: &SpaceName, from: u64, first: u64) -> Result<()> {
    if from == 0 || from >= first {
        return Ok(());
    }
    let text = format!(
        "events of space \"{space}\" before sequence {first} are gone, {from} was wanted: take a snapshot and go on after its sequence"
    );
    let data = json!({ "kind": "conflict", "retry": "never", "reason": "gone", "first": first, "from": from });
    Err(Error::new(ErrorKind::Conflict, text).with_data(Json::from_trusted(data.to_string())))
}

/// A shard that will say nothing more is said to be so.
fn is_well(contexts: &Contexts, shard: Shard, from: u64) -> Result<()> {
    let Some(status) = contexts.status(shard) else {
        return Err(Error::new(ErrorKind::Unavailable, format!("there is no shard {shard}")));
    };
    let why = status.detail.as_deref().unwrap_or("no reason given");
    match status.state {
        ShardState::Stopped => Err(Error::new(ErrorKind::Unavailable, format!("shard {shard} has stopped: {why}"))),
        // A log that is behind what was told from it is another log.
        ShardState::Following if status.last + 1 < from => {
            let text = format!("shard {shard} ends at sequence {}, {from} was wanted: take a snapshot", status.last);
            Err(Error::new(ErrorKind::Conflict, text))
        }
        ShardState::Following | ShardState::CatchingUp | ShardState::CutOff | ShardState::Rebuilding => Ok(()),
    }
}
