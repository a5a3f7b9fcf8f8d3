//! Nodes, leases and shards as messages.

use spanwire_model::{Holdings, Inventory, NodeState, ShardState, ShardStatus};
use spanwire_rpc::v1;

use super::whole_ms;

/// The nodes with how they are, by id.
pub(super) fn nodes(inventory: &Inventory) -> Vec<v1::NodeStatus> {
    let mut nodes: Vec<v1::NodeStatus> = inventory
        .nodes
        .iter()
        .map(|node| {
            let state = match node.state {
                NodeState::Alive => v1::NodeState::Alive,
                NodeState::Draining => v1::NodeState::Draining,
                NodeState::Suspect => v1::NodeState::Suspect,
            };
            v1::NodeStatus {
                id: node.id.to_string(),
                state: state.into(),
                version: node.version.to_string(),
                silent_ms: whole_ms(node.silent),
            }
        })
        .collect();
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    nodes
}

/// Who has which lease.
pub(super) fn leases(holdings: &Holdings) -> Vec<v1::LeaseStatus> {
    let lease = |(name, holding): (&std::sync::Arc<str>, &spanwire_model::Holding)| v1::LeaseStatus {
        name: name.to_string(),
        node: holding.node.to_string(),
        token: holding.token,
    };
    holdings.iter().map(lease).collect()
}

/// How a shard is.
pub(super) fn shard(status: &ShardStatus) -> v1::ShardStatus {
    let state = match status.state {
        ShardState::CatchingUp => v1::ShardState::CatchingUp,
        ShardState::Following => v1::ShardState::Following,
        ShardState::CutOff => v1::ShardState::CutOff,
        ShardState::Rebuilding => v1::ShardState::Rebuilding,
        ShardState::Stopped => v1::ShardState::Stopped,
    };
    v1::ShardStatus {
        book: status.shard.book.name().to_owned(),
        number: u32::from(status.shard.number),
        state: state.into(),
        detail: status.detail.as_deref().unwrap_or_default().to_owned(),
        applied: status.applied,
        last: status.last,
        first: status.first,
        hash: status.hash.to_string(),
        replicas: u32::from(status.replicas),
        stale_ms: status.stale.map_or(0, whole_ms),
    }
}
