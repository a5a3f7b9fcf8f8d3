//! Ids from free-form names.

use std::collections::BTreeSet;

use spanwire_model::ServerId;

use super::ImportedServer;
use crate::config::ServerTable;

const MAX_ID: usize = 32;

/// Gives each server an id; of two names with the same id, the later one gets `-2`.
pub(super) fn assign(servers: Vec<(String, ServerTable)>, warnings: &mut Vec<String>) -> Vec<ImportedServer> {
    let mut taken = BTreeSet::new();
    let mut assigned = Vec::with_capacity(servers.len());
    for (name, table) in servers {
        let base = ServerId::from_name(&name).map_or_else(|| "server".to_owned(), |id| id.to_string());
        // One of these is free: there are more candidates than servers.
        let Some(id) = (1..=taken.len() + 1).filter_map(|n| candidate(&base, n)).find(|id| !taken.contains(id)) else {
            continue;
        };
        if id.as_str() != name {
            warnings.push(format!("server \"{name}\" gets the id \"{id}\""));
        }
        taken.insert(id.clone());
        assigned.push(ImportedServer { name, id, table });
    }
    assigned
}

fn candidate(base: &str, n: usize) -> Option<ServerId> {
    if n == 1 {
        return base.parse().ok();
    }
    let suffix = format!("-{n}");
    let stem = &base[..base.len().min(MAX_ID - suffix.len())];
    format!("{}{suffix}", stem.trim_end_matches('-')).parse().ok()
}
