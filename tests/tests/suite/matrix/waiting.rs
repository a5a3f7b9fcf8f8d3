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
const WAITING: &[Waiting] = &[];

/// The branch that a feature waits for in a cell.
pub(super) fn waits_for(feature: &str, cell: &Cell) -> Option<&'static str> {
    let row = WAITING
        .iter()
        .find(|row| (row.cells)(cell) && row.features.iter().any(|name| *name == "*" || *name == feature));
    row.map(|row| row.branch)
}
