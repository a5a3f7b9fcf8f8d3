//! What the inventory shows of all nodes' servers.

use std::{collections::BTreeMap, sync::Arc};

use spanwire_model::{Health, Placement, ServerEntry, ServerId, ServerState, Wanted};

/// The servers in their order. Of two that claim one replica, only the one with the larger token is shown: the other one's lease is
/// over, whether it knows it or not. A server that is wanted somewhere and runs nowhere is shown as it was, but down, and one that is being
/// started lists what it listed before: its tools do not vanish while it goes from one node to another one.
pub(super) fn shown(
    mut servers: Vec<Arc<ServerEntry>>,
    wanted: &[Wanted],
    last_placed: &mut BTreeMap<ServerId, Arc<ServerEntry>>,
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
    let is_placed = |id: &ServerId| wanted.iter().any(|want| want.placement == Placement::Any && want.id == *id);
    last_placed.retain(|id, _| is_placed(id));
    for entry in servers.iter().filter(|entry| entry.placed.is_some() && entry.facts.is_some()) {
        if is_placed(&entry.id) {
            last_placed.insert(entry.id.clone(), entry.clone());
        }
    }
    for entry in servers.iter_mut().filter(|entry| entry.placed.is_some() && entry.facts.is_none()) {
        if let Some(last) = last_placed.get(&entry.id) {
            *entry = Arc::new(as_it_was(entry, last));
        }
    }
    let missing = last_placed.iter().filter(|(id, _)| !servers.iter().any(|entry| entry.id == **id));
    let missing: Vec<Arc<ServerEntry>> = missing.map(|(_, last)| Arc::new(between_nodes(last))).collect();
    servers.extend(missing);
    servers.sort_by(|a, b| (&a.id, &a.node).cmp(&(&b.id, &b.node)));
    servers
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
