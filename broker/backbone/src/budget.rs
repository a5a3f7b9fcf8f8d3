//! The end of a call, counted from now.

use std::time::Duration;

use tokio::time::Instant;

/// Longest budget that is counted; a longer one, which no clock may be able to count, is as good as this.
const MAX_BUDGET: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a budget is used up.
pub(crate) fn deadline(budget: Duration) -> Instant {
    Instant::now() + budget.min(MAX_BUDGET)
}
