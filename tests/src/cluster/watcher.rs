//! Follows the changes of a space through one node, from the first on, and goes on where it was when the watch breaks.

use std::{collections::HashMap, time::Duration};

use anyhow::{Result, bail, ensure};
use spanwire_rpc::v1::{ContextChange, ContextEvent};
use tokio::time::sleep;
use tonic::Code;

use super::{
    door::{Door, items},
    journal::{Event, Journal, Versioned},
    world::{Endpoints, name_of},
};

/// Between two watches.
const PAUSE: Duration = Duration::from_millis(100);

/// The name under which the journal has what such a watcher saw.
pub fn name(node: usize, space: &str) -> String {
    format!("{space} at {}", name_of(node))
}

/// Watches until it is dropped.
///
/// # Errors
/// What a watcher must not be told: that changes are missing, or a change that makes no sense.
pub async fn run(endpoints: Endpoints, journal: Journal, node: usize, space: &str) -> Result<()> {
    let mut door = Door::new(endpoints)?;
    let mut seen = Seen { last: 0, states: HashMap::new() };
    loop {
        // While the node is gone there is nothing to watch.
        if let Ok(mut events) = door.watch(node, space, seen.last + 1).await {
            loop {
                match events.message().await {
                    Ok(Some(event)) => journal.saw(&name(node, space), seen.take(space, &event)?),
                    Ok(None) => break,
                    Err(status) if status.code() == Code::FailedPrecondition => {
                        bail!("watcher {} at {}: {}", name(node, space), seen.last, status.message())
                    }
                    Err(_) => break,
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// What was seen until now.
struct Seen {
    last: u64,
    states: HashMap<String, Vec<u64>>,
}

impl Seen {
    /// The key as it is after a change.
    fn take(&mut self, space: &str, event: &ContextEvent) -> Result<Event> {
        let key = format!("{space}/{}", event.key);
        let changed = items(&event.value_json)?;
        let state = self.states.entry(key.clone()).or_default();
        match event.change() {
            ContextChange::Put => *state = changed,
            ContextChange::Append => state.extend(changed),
            other => bail!("nobody asked for {} of {key}", other.as_str_name()),
        }
        ensure!(event.version == event.sequence, "{key} has version {} by entry {}", event.version, event.sequence);
        // Whether that is in order is for the checker to say.
        self.last = self.last.max(event.sequence);
        Ok(Event { key, state: Versioned { version: event.version, items: state.clone() } })
    }
}
