//! Which node comes how early for a server (rendezvous hashing): when a node goes, only its own servers move.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use spanwire_model::{NodeId, ServerId};

/// How many of the nodes come before `node`. All nodes of one version agree on it; where they do not, the leases still do.
pub(super) fn rank(server: &ServerId, node: &NodeId, nodes: &BTreeSet<NodeId>) -> usize {
    let own = (weight(server, node), node);
    nodes.iter().filter(|other| (weight(server, other), *other) > own).count()
}

fn weight(server: &ServerId, node: &NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    (server.as_str(), node.as_str()).hash(&mut hasher);
    hasher.finish()
}
