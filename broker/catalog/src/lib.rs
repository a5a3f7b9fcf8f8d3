//! What can be called: one immutable snapshot of every list of every server, merged, named and cut into views.
//!
//! Pure: an [`Inventory`](spanwire_model::Inventory) and a [`Config`] go in, a [`Snapshot`] comes out. Calls are resolved
//! against it without a lock or an await. Naming is a function of configuration only: an exposed name never changes because
//! another server joined (broker/ARCHITECTURE.md).

mod expose;
mod name;
mod page;
mod snapshot;
mod view;

pub use expose::{expose_uris, resource_uri_of};
pub use name::{canonical, exposed, is_prefixed, split_resource, suggest};
pub use page::{InvalidCursor, Page};
pub use snapshot::Snapshot;
pub use view::{Exposed, Prefix, Section, View, ViewConfig};

/// How the catalog is built.
#[derive(Debug, Clone)]
pub struct Config {
    /// Named views. Every server has one of its own name besides.
    pub views: Vec<ViewConfig>,
    /// What becomes of the entries of a server that is down.
    pub stale: Stale,
    /// Entries on one page of a list.
    pub page_size: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { views: Vec::new(), stale: Stale::Keep, page_size: 1000 }
    }
}

/// What becomes of the last known entries of a server that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// They stay listed, marked with `"spanwire/stale": true` in their `_meta`. Calls fail as unavailable.
    Keep,
    /// They are not listed.
    Drop,
}
