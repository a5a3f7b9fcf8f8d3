//! What the inventory shows of all nodes' servers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use spanwire_model::{Health, Placement, ServerEntry, ServerId, ServerState, Source, Wanted};
use tokio::time::Instant;

/// How long a server that another node's configuration places is shown after the last node that ran it: longer than a fail-over takes.
/// Whether it is wanted still, only the nodes know that have it in their files.
const BETWEEN_NODES: Duration = Duration::from_secs(20);

/// Placed servers as they were when somebody ran them last.
#[derive(Debug, Default)]
pub(super) struct LastPlaced(BTreeMap<ServerId, Last>);

#[derive(Debug)]
struct Last {
    entry: Arc<ServerEntry>,
    /// Since when nobody runs it.
    gone_since: Option<Instant>,
}

impl LastPlaced {
    /// The servers in their order. Of two that claim one replica, only the one with the larger token is shown: the other one's lease is
    /// over, whether it knows it or not. A server that is wanted somewhere and runs nowhere is shown as it was, but down, and one that is
    /// being started lists what it listed before: its tools do not vanish while it goes from one node to another one.
    pub(super) fn shown(
        &mut self,
        mut servers: Vec<Arc<ServerEntry>>,
        wanted: &[Wanted],
        now: Instant,
    ) -> Vec<Arc<ServerEntry>> {
        let mut tokens: BTreeMap<(ServerId, u16), u64> = BTreeMap::new();
        for (entry, placed) in servers.iter().filter_map(|entry| Some((entry, entry.placed?))) {
            let token = tokens.entry((entry.id.clone(), placed.replica)).or_default();
            *token = (*token).max(placed.token);
        }
        servers.retain(|entry| match entry.placed {
            Some(placed) => tokens.get(&(entry.id.clone(), placed.replica)) == Some(&placed.token),
            None => true,
        });
        self.keep(&servers, wanted, now);
        for entry in servers.iter_mut().filter(|entry| entry.placed.is_some() && entry.facts.is_none()) {
            if let Some(last) = self.0.get(&entry.id) {
                *entry = Arc::new(as_it_was(entry, &last.entry));
            }
        }
        let between = self.0.values().filter(|last| last.gone_since.is_some());
        servers.extend(between.map(|last| Arc::new(between_nodes(&last.entry))));
        servers.sort_by(|a, b| (&a.id, &a.node).cmp(&(&b.id, &b.node)));
        servers
    }

    /// When a server that is between two nodes is shown no longer.
    pub(super) fn next_end(&self, wanted: &[Wanted]) -> Option<Instant> {
        let theirs = self.0.iter().filter(|(id, _)| !is_placed(wanted, id));
        theirs.filter_map(|(_, last)| Some(last.gone_since? + BETWEEN_NODES)).min()
    }

    /// Takes what runs, and forgets what is not to run any more: what is not wanted here, and what another node's configuration wanted, as
    /// far as one can tell.
    fn keep(&mut self, servers: &[Arc<ServerEntry>], wanted: &[Wanted], now: Instant) {
        for entry in servers.iter().filter(|entry| entry.placed.is_some() && entry.facts.is_some()) {
            self.0.insert(entry.id.clone(), Last { entry: entry.clone(), gone_since: None });
        }
        self.0.retain(|id, last| {
            let is_there = servers.iter().any(|entry| entry.id == *id);
            last.gone_since = if is_there { None } else { last.gone_since.or(Some(now)) };
            let is_shown = last.gone_since.is_none_or(|since| now < since + BETWEEN_NODES);
            is_placed(wanted, id) || (last.entry.source == Source::Config && is_shown)
        });
    }
}

/// True for a server that this node knows to be wanted on whatever node.
fn is_placed(wanted: &[Wanted], id: &ServerId) -> bool {
    wanted.iter().any(|want| want.placement == Placement::Any && want.id == *id)
}

/// A placed server that is being started, with what it said of itself and listed on the node before.
fn as_it_was(entry: &ServerEntry, last: &ServerEntry) -> ServerEntry {
    ServerEntry { facts: last.facts.clone(), listing: last.listing.clone(), ..entry.clone() }
}

/// A placed server that no node runs at the moment.
fn between_nodes(last: &ServerEntry) -> ServerEntry {
    let detail = Some(format!("no node runs it at the moment; the last one was \"{}\"", last.node).into());
    let health = Health { state: ServerState::Down, detail, restarts: last.health.restarts };
    ServerEntry { local: false, health, load: 0, ..last.clone() }
}

#[cfg(test)]
mod tests;
