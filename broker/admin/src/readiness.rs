//! Whether a node can be sent traffic.

use spanwire_model::{Inventory, NodeState, ServerState};

use crate::Status;

/// What a node still waits for, one sentence each; empty when it is ready. A server that is down does not count: it was tried, and
/// the others should not wait for it.
pub fn missing(status: &Status, inventory: &Inventory) -> Vec<String> {
    let mut missing = Vec::new();
    if !status.backbone_connected {
        missing.push(format!("backbone \"{}\" is not connected", status.backbone));
    }
    let this = inventory.nodes.iter().find(|node| node.id == status.node);
    if this.is_some_and(|node| node.state == NodeState::Draining) {
        missing.push(format!("node \"{}\" is draining", status.node));
    }
    for server in inventory.servers.iter().filter(|server| server.local) {
        match server.health.state {
            ServerState::Starting => missing.push(format!("server \"{}\" is starting", server.id)),
            ServerState::Ready | ServerState::Degraded | ServerState::Down | ServerState::Stopped => {}
        }
    }
    missing
}
