//! Reads of any level say what some version was, no less than what they were asked for, and never what came later.

use std::collections::{BTreeMap, HashMap};

use super::Findings;
use crate::cluster::journal::{Act, Event, Level, Operation, Outcome, Versioned};

/// `log` is every change of the keys, in its order.
pub fn check(operations: &[Operation], log: &[Event]) -> Findings {
    let mut keys: HashMap<&str, BTreeMap<u64, &Versioned>> = HashMap::new();
    for event in log {
        keys.entry(&event.key).or_default().insert(event.state.version, &event.state);
    }
    let mut findings = Findings::default();
    for operation in operations {
        let (Act::Read { key, level }, Outcome::Read(read)) = (&operation.act, &operation.outcome) else { continue };
        let states = keys.get(key.as_str());
        let nothing = Versioned::default();
        let then = match read.version {
            0 => Some(&nothing),
            version => states.and_then(|states| states.get(&version)).copied(),
        };
        if then != Some(read) {
            findings.wrong(format!("a read of {key} gave {read:?}, and the log says {then:?}"));
        }
        if let Level::AtLeast(sequence) = *level {
            let newest =
                states.and_then(|states| states.range(..=sequence).next_back()).map_or(0, |(version, _)| *version);
            if read.version < newest {
                let version = read.version;
                findings.wrong(format!("a read of {key} from {sequence} on gave {version}, older than {newest}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::check::samples::{event, read};

    #[test]
    fn a_stale_local_read_is_well_and_one_that_was_to_be_current_is_not() {
        let log = [event("k", 3, &[1]), event("k", 8, &[1, 2])];
        let old = || read("k", Level::Local, 3, &[1], 0, 1);
        assert_eq!(check(&[old(), read("k", Level::AtLeast(5), 3, &[1], 0, 1)], &log), Findings::default());
        assert_eq!(check(&[read("k", Level::Local, 0, &[], 0, 1)], &log), Findings::default());
        assert_eq!(check(&[read("k", Level::AtLeast(8), 3, &[1], 0, 1)], &log).wrong.len(), 1);
        assert_eq!(check(&[read("k", Level::AtLeast(3), 0, &[], 0, 1)], &log).wrong.len(), 1);
    }

    #[test]
    fn what_was_never_there_must_not_be_read() {
        let log = [event("k", 3, &[1])];
        assert_eq!(check(&[read("k", Level::Local, 3, &[1, 2], 0, 1)], &log).wrong.len(), 1);
        assert_eq!(check(&[read("k", Level::Local, 4, &[1, 2], 0, 1)], &log).wrong.len(), 1);
        assert_eq!(check(&[read("other", Level::Local, 3, &[1], 0, 1)], &log).wrong.len(), 1);
    }
}
