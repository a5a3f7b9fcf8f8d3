//! Trace and span ids, and the decision that depends on them.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

thread_local! {
    // Two splitmix64 streams per thread, seeded from the standard library's OS-random keys. A system call per span
    // would cost more than the span; `fastrand` seeds itself from a clock, which two nodes can share.
    static STATE: Cell<[u64; 2]> = Cell::new([RandomState::new().hash_one(1), RandomState::new().hash_one(2)]);
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn random(stream: usize) -> u64 {
    STATE.with(|cell| {
        let mut state = cell.get();
        let value = splitmix(&mut state[stream]);
        cell.set(state);
        value
    })
}

/// A random span id, never zero.
pub(crate) fn span_id() -> u64 {
    loop {
        let id = random(0);
        if id != 0 {
            return id;
        }
    }
}

/// A random trace id, never zero. Both halves are random, as samplers by trace id need.
pub(crate) fn trace_id() -> u128 {
    loop {
        let id = u128::from(random(0)) << 64 | u128::from(random(1));
        if id != 0 {
            return id;
        }
    }
}

/// The part of all traces that is recorded, decided as the SDKs' `TraceIdRatioBased` does, so that nodes and
/// services with one ratio choose the same traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio(u64);

impl Ratio {
    /// A ratio from 0 to 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^63, and a cast saturates")]
    pub(crate) fn new(ratio: f64) -> Self {
        Self((ratio.clamp(0.0, 1.0) * 2f64.powi(63)) as u64)
    }

    /// True when traces of this id are recorded.
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub(crate) fn takes(self, trace_id: u128) -> bool {
        (trace_id as u64) >> 1 < self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_different_on_all_threads() {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| (0..10_000).map(|_| (trace_id(), span_id())).collect())).collect();
        let all: Vec<(u128, u64)> =
            threads.into_iter().flat_map(|t| -> Vec<(u128, u64)> { t.join().unwrap() }).collect();
        assert_eq!(all.iter().map(|(t, _)| *t).collect::<HashSet<_>>().len(), all.len());
        assert_eq!(all.iter().map(|(_, s)| *s).collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().all(|(t, s)| *t != 0 && *s != 0));
    }

    #[test]
    fn a_ratio_takes_its_part() {
        assert!((0..1000).all(|_| !Ratio::new(0.0).takes(trace_id())));
        assert!(Ratio::new(1.0).takes(u128::MAX) && Ratio::new(1.0).takes(1));
        let taken = (0..20_000).filter(|_| Ratio::new(0.25).takes(trace_id())).count();
        assert!((4_000..6_000).contains(&taken), "{taken}");
    }
}
