//! The catalog at one moment.

use std::{collections::HashMap, sync::Arc};

use spanwire_model::Inventory;

use crate::{Config, View, view::Member};

/// Every view at one moment. Immutable; a call resolves against one snapshot from begin to end.
#[derive(Debug)]
pub struct Snapshot {
    /// The inventory's version that it was built from.
    pub version: u64,
    /// Entries on one page.
    pub page_size: usize,
    federated: View,
    named: HashMap<Arc<str>, View>,
}

impl Snapshot {
    /// Builds all views. A configured view wins over a server of the same name.
    pub fn build(inventory: &Inventory, config: &Config) -> Self {
        let members: Vec<Member> = inventory.servers.chunk_by(|a, b| a.id == b.id).filter_map(Member::of).collect();
        let servers = members.iter().map(|m| (Arc::from(m.id.as_str()), View::of_server(m, config.stale)));
        let mut named: HashMap<Arc<str>, View> = servers.collect();
        for view in &config.views {
            named.insert(view.name.clone(), View::named(view, &members, config.stale));
        }
        Self {
            version: inventory.version,
            page_size: config.page_size.max(1),
            federated: View::federated(&members, config.stale),
            named,
        }
    }

    /// A view by name; `None` is the federated one.
    pub fn view(&self, name: Option<&str>) -> Option<&View> {
        match name {
            None => Some(&self.federated),
            Some(name) => self.named.get(name),
        }
    }
}

#[cfg(test)]
mod tests;
