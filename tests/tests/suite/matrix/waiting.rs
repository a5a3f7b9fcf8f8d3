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

/// Everything that asks for input.
const INPUT: &[&str] = &[
    "form",
    "url",
    "sampling",
    "roots",
    "two_at_once",
    "three_rounds",
    "asked_by_a_prompt",
    "asked_by_a_resource",
    "the_user_declines",
    "the_client_refuses",
    "nothing_declared",
    "never_returns",
    "cancelled_while_asked",
];

/// What comes back to a parked call.
const STATE: &[&str] = &["replayed_state", "the_retry_lands_elsewhere"];

/// What the seal of `requestState` is for.
const SEALED: &[&str] = &["state_is_sealed", "forged_state", "state_of_another_principal", "state_of_another_request"];

/// Tasks: their form (branch `tasks`), and the seal of their ids (`main`).
const TASKS: &[&str] =
    &["a_task_completes", "a_task_asks", "a_task_is_cancelled", "status_of_a_task", "tasks_of_others", "unknown_task"];

/// The table.
const WAITING: &[Waiting] = &[
    Waiting {
        branch: "relay",
        features: &["*"],
        cells: |cell| cell.nodes == Nodes::Either && !cell.client.is_modern(),
    },
    Waiting { branch: "relay", features: &["*"], cells: |cell| cell.client.transport == Transport::Sse },
    Waiting { branch: "uphttp", features: &["*"], cells: |cell| cell.server.transport == Transport::Sse },
    Waiting { branch: "uphttp", features: &["param_headers_are_checked"], cells: |_| true },
    Waiting { branch: "uphttp", features: &["apps"], cells: |cell| cell.view().is_empty() },
    Waiting {
        branch: "session",
        features: &["resource_not_found"],
        cells: |cell| !cell.client.is_modern() && cell.server.is_modern(),
    },
    Waiting {
        branch: "ask",
        features: &["log_levels_of_two_at_once"],
        cells: |cell| !cell.server.is_modern() && cell.server.transport == Transport::Http,
    },
    Waiting { branch: "ask", features: INPUT, cells: |cell| !cell.server.is_modern() },
    Waiting { branch: "session", features: INPUT, cells: |cell| !cell.client.is_modern() },
    Waiting { branch: "session", features: &["declared_capabilities"], cells: |cell| !cell.client.is_modern() },
    Waiting { branch: "ask", features: STATE, cells: |cell| !cell.server.is_modern() },
    Waiting { branch: "main", features: SEALED, cells: |_| true },
    Waiting { branch: "tasks", features: TASKS, cells: |_| true },
    // The params are read for members of known methods at the edge of modern clients and before a legacy server.
    Waiting {
        branch: "main",
        features: &["params_of_an_unknown_method"],
        cells: |cell| cell.client.is_modern() || !cell.server.is_modern(),
    },
    Waiting { branch: "main", features: &["one_upstream_subscription"], cells: |cell| cell.server.is_modern() },
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
