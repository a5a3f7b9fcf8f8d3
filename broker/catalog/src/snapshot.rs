//! The catalog at one moment.

use std::{collections::HashMap, sync::Arc};

use spanwire_model::{Inventory, ListKind};

use crate::{Config, Exposed, View, view::Member};

/// Every view at one moment. Immutable; a call resolves against one snapshot from begin to end.
#[derive(Debug)]
pub struct Snapshot {
    /// The inventory's version that it was built from.
    pub version: u64,
    /// Entries on one page.
    pub page_size: usize,
    federated: View,
    named: HashMap<Arc<str>, View>,
    /// True when any tool wants arguments mirrored.
    mirrors: bool,
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
        let federated = View::federated(&members, config.stale);
        // The federated view has every tool.
        let mirrors = federated.section(ListKind::Tools).entries().iter().any(|tool| tool.mirrored.is_some());
        Self { version: inventory.version, page_size: config.page_size.max(1), federated, named, mirrors }
    }

    /// A view by name; `None` is the federated one.
    pub fn view(&self, name: Option<&str>) -> Option<&View> {
        match name {
            None => Some(&self.federated),
            Some(name) => self.named.get(name),
        }
    }

    /// A tool of a view that wants arguments mirrored in headers. One look when there is none at all.
    pub fn mirroring_tool(&self, view: Option<&str>, name: &str) -> Option<&Exposed> {
        let view = if self.mirrors { self.view(view)? } else { return None };
        view.section(ListKind::Tools).get(name).filter(|tool| tool.mirrored.is_some())
    }
}

#[cfg(test)]
mod tests;
