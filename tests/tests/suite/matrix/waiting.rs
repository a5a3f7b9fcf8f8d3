//! What does not work yet, and the branch that brings it. A cell that is named here and passes fails the test, so the table only
//! ever gets shorter, and nothing is skipped in silence.

use super::cell::Cell;

/// Lines of `[limits]` that the features need: the time to live of a parked call.
pub(super) const LIMITS: &str = "input_timeout_ms = 2000";

/// A row.
struct Waiting {
    branch: &'static str,
    features: &'static [&'static str],
    cells: fn(&Cell) -> bool,
}

/// The table.
const WAITING: &[Waiting] = &[
    // Every tool of a legacy client's list says that it can be called as a task, whatever its server says.
    Waiting { branch: "tasks", features: &["task_support_is_listed"], cells: |_| true },
    // The params are read for members of known methods at the edge of modern clients and before a legacy server.
    Waiting {
        branch: "main",
        features: &["params_of_an_unknown_method"],
        cells: |cell| cell.client.is_modern() || !cell.server.is_modern(),
    },
    // A modern server gets a stream for each client.
    Waiting { branch: "main", features: &["one_upstream_subscription"], cells: |cell| cell.server.is_modern() },
];

/// The branch that a feature waits for in a cell.
pub(super) fn waits_for(feature: &str, cell: &Cell) -> Option<&'static str> {
    let row = WAITING
        .iter()
        .find(|row| (row.cells)(cell) && row.features.iter().any(|name| *name == "*" || *name == feature));
    row.map(|row| row.branch)
}
