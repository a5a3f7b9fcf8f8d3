//! What does not work yet, and the branch that brings it. A cell that is named here and passes fails the test, so the table only
//! ever gets shorter, and nothing is skipped in silence.

use super::cell::{Cell, Nodes, Peer, Transport};

/// Lines of `[limits]` that the features need: the time to live of a parked call, once branch `relay` reads it.
pub(super) const LIMITS: &str = "";

/// A row.
struct Waiting {
    branch: &'static str,
    features: &'static [&'static str],
    cells: fn(&Cell) -> bool,
}

/// The table.
const WAITING: &[Waiting] = &[
    Waiting {
        branch: "relay",
        features: &["*"],
        cells: |cell| cell.nodes == Nodes::Either && !cell.client.is_modern(),
    },
    Waiting { branch: "relay", features: &["*"], cells: |cell| cell.client.transport == Transport::Sse },
    Waiting { branch: "uphttp", features: &["*"], cells: |cell| cell.server.transport == Transport::Sse },
];

/// The branch that a feature waits for in a cell.
pub(super) fn waits_for(feature: &str, cell: &Cell) -> Option<&'static str> {
    let row = WAITING
        .iter()
        .find(|row| (row.cells)(cell) && row.features.iter().any(|name| *name == "*" || *name == feature));
    row.map(|row| row.branch)
}

/// Servers that no node can reach yet.
pub(super) fn is_unreachable(server: Peer) -> bool {
    server.transport == Transport::Sse
}
