//! Whether one replica is found well: a few failures in a row that say it is sick open the breaker, and it is asked last for a while; then
//! one call tries it. No clock and no chance in here: both are given.
//!
//! An open breaker changes the order and nothing else. When every replica is found sick, they are asked all the same: a breaker must not
//! make a server unreachable that may be well.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// How long it is open at first; doubles with each trial that fails.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long it is open at most.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The state of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Found well, but for so many failures in a row.
    Closed { failures: u32 },
    /// Found sick, so many times in a row. A call may try it from then on.
    Open { until: Instant, times: u32 },
    /// One call is trying it.
    Trying { times: u32 },
}

/// How far a replica is trusted at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It is found well.
    Well,
    /// It may be tried.
    Trial,
    /// It is found sick.
    Sick,
}

/// What a call says of its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, with whatever.
    Well,
    /// It was not there, did not answer, or broke off.
    Sick,
    /// Nothing: the caller went away, or it was busy.
    Unknown,
}

impl Breaker {
    /// How far it is trusted now.
    pub(crate) fn trust(self, now: Instant) -> Trust {
        match self {
            Self::Closed { .. } => Trust::Well,
            Self::Open { until, .. } if now >= until => Trust::Trial,
            Self::Open { .. } | Self::Trying { .. } => Trust::Sick,
        }
    }

    /// A call is sent. True when it is the trial.
    #[must_use]
    pub(crate) fn begin(self, now: Instant) -> (Self, bool) {
        match self {
            Self::Open { until, times } if now >= until => (Self::Trying { times }, true),
            Self::Closed { .. } | Self::Open { .. } | Self::Trying { .. } => (self, false),
        }
    }

    /// A call was heard of before its end: the replica is at work, and trusted as far as one failure less than opens it.
    #[must_use]
    pub(crate) fn heard(self) -> Self {
        match self {
            Self::Closed { .. } => self,
            Self::Open { .. } | Self::Trying { .. } => Self::Closed { failures: FAILURES - 1 },
        }
    }

    /// A call has ended. `chance` is from 0 to 1 and spreads the trials of many nodes.
    #[must_use]
    pub(crate) fn end(self, verdict: Verdict, was_trial: bool, now: Instant, chance: f64) -> Self {
        let open = |times: u32| Self::Open { until: now + pause(times, chance), times };
        match (self, verdict) {
            (_, Verdict::Well) => Self::Closed { failures: 0 },
            (Self::Closed { failures }, Verdict::Sick) if failures + 1 >= FAILURES => open(1),
            (Self::Closed { failures }, Verdict::Sick) => Self::Closed { failures: failures + 1 },
            (Self::Trying { times }, Verdict::Sick) if was_trial => open(times.saturating_add(1)),
            // The trial said nothing: the next call is one.
            (Self::Trying { times }, Verdict::Unknown) if was_trial => Self::Open { until: now, times },
            (Self::Closed { .. } | Self::Open { .. } | Self::Trying { .. }, Verdict::Sick | Verdict::Unknown) => self,
        }
    }

    /// True while it is found sick.
    pub(crate) fn is_open(self) -> bool {
        match self {
            Self::Closed { .. } => false,
            Self::Open { .. } | Self::Trying { .. } => true,
        }
    }
}

/// Doubles with each time up to the limit, less a random part of up to a half.
fn pause(times: u32, chance: f64) -> Duration {
    let full = PAUSE_MIN.saturating_mul(1 << times.saturating_sub(1).min(10)).min(PAUSE_MAX);
    full.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests;
