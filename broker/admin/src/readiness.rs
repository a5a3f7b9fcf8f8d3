//! Whether a node can be sent traffic.

use spanwire_model::{Inventory, NodeState, ServerState};

use crate::Status;

/// What a node still waits for, one sentence each; empty when it is ready. A server that is down does not count: it was tried, and
/// the others should not wait for it. Nor does a ledger that is cut off: calls go on without it. A node that drains is not ready, so
/// that nothing new is sent to it.
pub fn missing(status: &Status, inventory: &Inventory) -> Vec<String> {
    let mut missing = Vec::new();
    let own = inventory.nodes.iter().find(|node| node.id == status.node);
    match own.map(|node| node.state) {
        Some(NodeState::Draining) => missing.push("the node is draining".to_owned()),
        Some(NodeState::Alive | NodeState::Suspect) | None => {}
    }
    if !status.backbone_connected {
        missing.push(format!("backbone \"{}\" is not connected", status.backbone));
    }
    for server in inventory.servers.iter().filter(|server| server.local) {
        match server.health.state {
            ServerState::Starting => missing.push(format!("server \"{}\" is starting", server.id)),
            ServerState::Ready | ServerState::Degraded | ServerState::Down | ServerState::Stopped => {}
        }
    }
    missing
}
