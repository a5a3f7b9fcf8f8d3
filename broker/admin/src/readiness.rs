//! Whether a node can be sent traffic.

use std::time::Duration;

use spanwire_model::{Inventory, NodeState, ServerEntry, ServerState, ShardState};

use crate::Status;

/// How long a node that starts waits for its shards. Later it is ready without them: calls go on without the ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(30);

/// What a node still waits for, one sentence each; empty when it is ready. A server that is down does not count: it was tried, and
/// the others should not wait for it. Nor does one that was lost and is started again, nor a placed one, which is taken over at run
/// time: its calls wait, and the node has the others. Nor does a ledger that is cut off: calls go on without it. While a node starts it waits for the
/// entries that it does not have yet, for a bounded time, and until it knows the servers of the other nodes: whoever is sent to it then
/// finds what the node before it had. A node that drains is not ready, so
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
    if !status.settled {
        missing.push("the other nodes have not all told their servers yet".to_owned());
    }
    if status.uptime < LEDGER_PATIENCE {
        let behind = status.shards.iter().filter(|shard| is_behind(shard.state));
        missing.extend(behind.map(|shard| format!("shard {} of the ledger is {}", shard.shard, shard.state.as_str())));
    }
    let is_first = |server: &ServerEntry| server.local && server.placed.is_none() && server.health.restarts == 0;
    for server in inventory.servers.iter().filter(|server| is_first(server)) {
        match server.health.state {
            ServerState::Starting => missing.push(format!("server \"{}\" is starting", server.id)),
            ServerState::Ready | ServerState::Degraded | ServerState::Down | ServerState::Stopped => {}
        }
    }
    missing
}

/// True for a shard that does not have all entries yet, and is about to.
fn is_behind(state: ShardState) -> bool {
    match state {
        ShardState::CatchingUp | ShardState::Rebuilding => true,
        ShardState::Following | ShardState::CutOff | ShardState::Stopped => false,
    }
}
