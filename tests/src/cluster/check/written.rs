//! Every acknowledged write is in the log, once, as the version that was acknowledged; what was refused is not.

use std::collections::HashMap;

use super::Findings;
use crate::cluster::journal::{Event, Operation, Outcome};

/// The versions under which each number was written, by what the log says.
pub fn versions(log: &[Event]) -> HashMap<(&str, u64), Vec<u64>> {
    let mut versions: HashMap<(&str, u64), Vec<u64>> = HashMap::new();
    for event in log {
        // Whoever writes puts its number last.
        if let Some(item) = event.state.items.last() {
            versions.entry((&event.key, *item)).or_default().push(event.state.version);
        }
    }
    versions
}

/// `log` is every change of the keys, in its order.
pub fn check(operations: &[Operation], log: &[Event]) -> Findings {
    let mut versions = versions(log);
    let mut findings = Findings::default();
    for (index, operation) in operations.iter().enumerate() {
        let Some(written) = operation.written() else { continue };
        let found = versions.remove(&written).unwrap_or_default();
        let (key, item) = written;
        if found.len() > 1 {
            findings.doubled.push(index);
            findings.wrong(format!("{item} was written to {key} as versions {found:?}"));
        }
        match &operation.outcome {
            Outcome::Written(_) if found.is_empty() => {
                findings.lost.push(index);
                findings.wrong(format!("{item} was written to {key}, was acknowledged, and is not in the log"));
            }
            Outcome::Written(version) if !found.contains(version) => {
                findings.wrong(format!("{item} in {key} was acknowledged as {version} and is {found:?}"));
            }
            Outcome::Refused(_) | Outcome::NotDone(_) if !found.is_empty() => {
                findings.wrong(format!("{item} is in {key} as {found:?}, and ended as {:?}", operation.outcome));
            }
            Outcome::Written(_) | Outcome::Refused(_) | Outcome::NotDone(_) | Outcome::Unknown(_) => {}
            Outcome::Called | Outcome::Read(_) => {
                findings.wrong(format!("the write of {item} to {key} has the outcome {:?}", operation.outcome));
            }
        }
    }
    for ((key, item), found) in versions {
        findings.wrong(format!("{item} is in {key} as {found:?}, and nobody wrote it"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::check::samples::{append, event};

    fn unknown() -> Outcome {
        Outcome::Unknown("deadline_exceeded".to_owned())
    }

    #[test]
    fn acknowledged_writes_are_there_and_unknown_ones_may_be() {
        let log = [event("k", 5, &[1]), event("k", 7, &[1, 2])];
        let operations = [
            append("k", 1, 0, 1, Outcome::Written(5)),
            append("k", 2, 0, 1, unknown()),
            append("k", 3, 0, 1, unknown()),
            append("k", 4, 0, 1, Outcome::NotDone("unavailable".to_owned())),
        ];
        assert_eq!(check(&operations, &log), Findings::default());
    }

    #[test]
    fn a_lost_write_a_double_one_and_a_wrong_version_are_found() {
        let log = [event("k", 5, &[1]), event("k", 7, &[1, 2]), event("k", 8, &[1, 2, 2]), event("k", 9, &[9])];
        let operations = [
            append("k", 1, 0, 1, Outcome::Written(4)),
            append("k", 2, 0, 1, unknown()),
            append("k", 3, 0, 1, Outcome::Written(6)),
        ];
        let found = check(&operations, &log);
        assert_eq!((found.lost, found.doubled), (vec![2], vec![1]));
        assert_eq!(found.wrong.len(), 4, "{:?}", found.wrong);
    }

    #[test]
    fn what_was_refused_must_not_be_there() {
        let log = [event("k", 5, &[1])];
        assert_eq!(check(&[append("k", 1, 0, 1, Outcome::Refused(None))], &log).wrong.len(), 1);
        assert_eq!(check(&[append("k", 1, 0, 1, Outcome::NotDone("unavailable".into()))], &log).wrong.len(), 1);
    }
}
