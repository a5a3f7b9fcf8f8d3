//! Holds what happened against what was promised. Pure: records go in, findings come out.

use std::{collections::BTreeMap, fmt};

use super::journal::{Event, Operation, Versioned};

pub mod agreed;
pub mod counted;
pub mod ends;
pub mod linear;
pub mod reads;
pub mod watched;
pub mod written;

#[cfg(test)]
mod samples;

/// What a node has of all keys in the end.
pub type Snapshot = BTreeMap<String, Versioned>;

/// Everything: what clients did, what watchers saw by name (`SPACE at NODE`), what the server counted, and what each node has in the end.
pub fn all(
    operations: &[Operation],
    watchers: &BTreeMap<String, Vec<Event>>,
    counted: &str,
    snapshots: &[Snapshot],
) -> Findings {
    let mut spaces: BTreeMap<&str, BTreeMap<String, Vec<Event>>> = BTreeMap::new();
    for (name, events) in watchers {
        let space = name.split_once(' ').map_or(name.as_str(), |(space, _)| space);
        spaces.entry(space).or_default().insert(name.clone(), events.clone());
    }
    let mut findings = Findings::default();
    let mut log = Vec::new();
    for watchers in spaces.values() {
        findings = findings.and(watched::check(watchers));
        log.extend(watched::log(watchers));
    }
    findings
        .and(counted::check(operations, counted))
        .and(written::check(operations, &log))
        .and(reads::check(operations, &log))
        .and(linear::check(operations, &log))
        .and(ends::check(&log, snapshots))
}

/// Most wrongs that are told of one kind.
const MAX_TOLD: usize = 20;

/// What the checkers found. Numbers are places in the list of operations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Acknowledged, and not there.
    pub lost: Vec<usize>,
    /// Done more than once.
    pub doubled: Vec<usize>,
    /// Anything else that must not be, one sentence each.
    pub wrong: Vec<String>,
}

impl Findings {
    /// True when nothing was found.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty()
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.wrong.extend(other.wrong);
        self
    }

    fn wrong(&mut self, what: impl fmt::Display) {
        self.wrong.push(what.to_string());
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lost {}, duplicated {}, wrong {}", self.lost.len(), self.doubled.len(), self.wrong.len())?;
        for what in self.wrong.iter().take(MAX_TOLD) {
            writeln!(f, "  {what}")?;
        }
        if self.wrong.len() > MAX_TOLD {
            writeln!(f, "  and {} more", self.wrong.len() - MAX_TOLD)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
