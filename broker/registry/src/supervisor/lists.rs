//! What is known of the lists of one server.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use spanwire_model::{ListKind, Listing};

use crate::listing::{Complaints, ReadList};

/// What is known of a server's lists over all its connections, with what was wrong with each.
#[derive(Default)]
pub(crate) struct Lists {
    pub(super) listing: Listing,
    complaints: BTreeMap<ListKind, Complaints>,
    ttl_ms: BTreeMap<ListKind, u64>,
    private: BTreeSet<ListKind>,
}

impl Lists {
    pub(super) fn take(&mut self, lists: Vec<(ListKind, ReadList)>) {
        for (kind, list) in lists {
            let entries = self.listing.of_mut(kind);
            // A list that broke off is better known from the last time.
            if list.is_whole || entries.is_empty() {
                *entries = list.entries;
            }
            self.complaints.insert(kind, list.complaints);
            self.ttl_ms.insert(kind, list.ttl_ms);
            if list.private {
                self.private.insert(kind)
            } else {
                self.private.remove(&kind)
            };
        }
        // `u64::MAX` marks a list that the server does not have.
        self.listing.ttl_ms = self.ttl_ms.values().copied().min().filter(|ttl| *ttl < u64::MAX).unwrap_or(0);
        self.listing.private = !self.private.is_empty();
    }

    pub(super) fn complaints(&self) -> Option<Arc<str>> {
        let mut all = Complaints::default();
        self.complaints.values().cloned().for_each(|complaints| all.join(complaints));
        all.text()
    }
}
