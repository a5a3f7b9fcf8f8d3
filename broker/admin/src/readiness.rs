//! Whether a node can be sent traffic.

use spanwire_model::{Inventory, ServerState};

use crate::Status;

/// What a node still waits for, one sentence each; empty when it is ready. A server that is down does not count: it was tried, and
/// the others should not wait for it.
pub fn missing(status: &Status, inventory: &Inventory) -> Vec<String> {
    let mut missing = Vec::new();
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
