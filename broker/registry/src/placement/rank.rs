//! Which node comes how early for a server: the one that runs the fewest placed servers, where they all may run it, and among equals by
//! rendezvous hashing. A server that runs stays where it is, so when a node goes, only its own servers move.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use spanwire_model::{Holdings, NodeId, ServerId};

/// How many placed servers each node runs.
pub(super) type Counts = BTreeMap<NodeId, usize>;

/// What the names of their leases begin with.
pub(super) const PREFIX: &str = "place.";

/// How many leases of placed servers each node has.
pub(super) fn counts(holdings: &Holdings) -> Counts {
    let mut counts = Counts::new();
    for (_, holding) in holdings.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        *counts.entry(holding.node.clone()).or_default() += 1;
    }
    counts
}

/// The nodes in the order in which they try for a server. All nodes of one version that see the same agree on it; where they do not, the
/// leases still do. Without counts the servers alone decide.
pub(super) fn order<'a>(
    server: &ServerId,
    nodes: impl IntoIterator<Item = &'a NodeId>,
    counts: Option<&Counts>,
) -> Vec<&'a NodeId> {
    let count = |node: &NodeId| counts.and_then(|counts| counts.get(node)).copied().unwrap_or(0);
    let mut order: Vec<&NodeId> = nodes.into_iter().collect();
    order.sort_by_cached_key(|node| (count(node), std::cmp::Reverse((weight(server, node), *node))));
    order
}

fn weight(server: &ServerId, node: &NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (server.as_str(), node.as_str()).hash(&mut hasher);
    hasher.finish()
}
