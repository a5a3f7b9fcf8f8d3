//! What clients saw of each key could have happened one after the other, each operation at one moment between its request and its
//! answer (Herlihy and Wing; checked by the algorithm of Wing and Gong in `todc-utils`).
//!
//! Writes whose outcome is unknown may have happened at any time from their request on, or never. Which of them happened is known from
//! the log, which holds each number that was written; the others are left out. Reads of other levels promise less: see `reads`.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
};

use todc_utils::{Action, History, Specification, WGLChecker};

use super::{Findings, written};
use crate::cluster::journal::{Act, Event, Level, Operation, Outcome, Versioned};

/// What one operation on one key says, once its outcome is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// This is what the key was.
    Read(Versioned),
    /// Set to one number, as that version.
    Put { version: u64, item: u64 },
    /// The same, from this version.
    PutIf { expected: u64, version: u64, item: u64 },
    /// One number more.
    Append { version: u64, item: u64 },
    /// The key had another version than this one; which, where it was said.
    Refused { expected: u64, current: Option<u64> },
}

/// A key on its own.
struct Key;

impl Specification for Key {
    type State = Versioned;
    type Operation = Step;

    fn init() -> Versioned {
        Versioned::default()
    }

    fn apply(step: &Step, state: &Versioned) -> (bool, Versioned) {
        let next = match step {
            Step::Read(seen) => (seen == state).then(|| state.clone()),
            Step::Refused { expected, current } => {
                let fits = state.version != *expected && current.is_none_or(|current| current == state.version);
                fits.then(|| state.clone())
            }
            Step::Put { version, item } => write(state, *version, vec![*item]),
            Step::PutIf { expected, version, item } => {
                (state.version == *expected).then(|| write(state, *version, vec![*item])).flatten()
            }
            Step::Append { version, item } => {
                write(state, *version, state.items.iter().copied().chain(iter::once(*item)).collect())
            }
        };
        // An operation that does not fit changes nothing.
        next.map_or_else(|| (false, state.clone()), |next| (true, next))
    }
}

/// Versions only grow.
fn write(state: &Versioned, version: u64, items: Vec<u64>) -> Option<Versioned> {
    (version > state.version).then_some(Versioned { version, items })
}

/// An operation with the time in which it took effect.
struct Timed {
    begun_us: u64,
    /// `u64::MAX` when it is open.
    ended_us: u64,
    step: Step,
}

/// `log` is every change of the keys, in its order.
pub fn check(operations: &[Operation], log: &[Event]) -> Findings {
    let versions = written::versions(log);
    let mut keys: BTreeMap<&str, Vec<Timed>> = BTreeMap::new();
    for operation in operations {
        if let Some((key, timed)) = timed(operation, &versions) {
            keys.entry(key).or_default().push(timed);
        }
    }
    let mut findings = Findings::default();
    for (key, history) in keys {
        let count = history.len();
        if !WGLChecker::<Key>::is_linearizable(History::from_actions(actions(history))) {
            findings.wrong(format!("the history of {key}, of {count} operations, is not linearizable"));
        }
    }
    findings
}

fn timed<'a>(operation: &'a Operation, versions: &HashMap<(&str, u64), Vec<u64>>) -> Option<(&'a str, Timed)> {
    let first_version = |key: &str, item| versions.get(&(key, item)).and_then(|found| found.first().copied());
    let (key, write): (_, fn(u64, u64, u64) -> Step) = match &operation.act {
        Act::Put { key, .. } => (key, |_, version, item| Step::Put { version, item }),
        Act::PutIf { key, .. } => (key, |expected, version, item| Step::PutIf { expected, version, item }),
        Act::Append { key, .. } => (key, |_, version, item| Step::Append { version, item }),
        Act::Read { key, level: Level::Linearizable } => (key, |_, _, _| Step::Read(Versioned::default())),
        Act::Read { level: Level::Local | Level::AtLeast(_), .. } | Act::Call { .. } => return None,
    };
    let expected = if let Act::PutIf { expected, .. } = &operation.act { *expected } else { 0 };
    let item = operation.written().map_or(0, |(_, item)| item);
    let (step, ended_us) = match &operation.outcome {
        Outcome::Written(version) => (write(expected, *version, item), operation.ended_us),
        Outcome::Read(seen) => (Step::Read(seen.clone()), operation.ended_us),
        Outcome::Refused(current) => (Step::Refused { expected, current: *current }, operation.ended_us),
        // A read that failed saw nothing.
        Outcome::Unknown(_) => (write(expected, first_version(key, item)?, item), u64::MAX),
        Outcome::NotDone(_) | Outcome::Called => return None,
    };
    Some((key, Timed { begun_us: operation.begun_us, ended_us, step }))
}

/// Requests and answers in the order of time, each operation as a process of its own. At the same microsecond requests come first: what
/// may have overlapped does.
fn actions(history: Vec<Timed>) -> Vec<(usize, Action<Step>)> {
    let mut actions = Vec::new();
    for (process, timed) in history.into_iter().enumerate() {
        actions.push((timed.begun_us, false, process, Action::Call(timed.step.clone())));
        actions.push((timed.ended_us, true, process, Action::Response(timed.step)));
    }
    actions.sort_by_key(|(at, is_answer, process, _)| (*at, *is_answer, *process));
    actions.into_iter().map(|(_, _, process, action)| (process, action)).collect()
}

#[cfg(test)]
mod tests;
