//! Every watcher saw the same changes in the same order, none twice and none left out.

use std::collections::BTreeMap;

use super::Findings;
use crate::cluster::journal::Event;

/// The changes that the watchers agree on, or as many as the one that saw most.
pub fn log(watchers: &BTreeMap<String, Vec<Event>>) -> Vec<Event> {
    watchers.values().max_by_key(|events| events.len()).cloned().unwrap_or_default()
}

/// `watchers` are streams of events from the beginning, each put together from as many watches as it took.
pub fn check(watchers: &BTreeMap<String, Vec<Event>>) -> Findings {
    let mut findings = Findings::default();
    for (watcher, events) in watchers {
        for pair in events.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            if after.state.version <= before.state.version {
                let (before, after) = (before.state.version, after.state.version);
                findings.wrong(format!("watcher {watcher} saw {after} of {} after {before}", pair[1].key));
            }
        }
    }
    let log = log(watchers);
    for (watcher, events) in watchers {
        let differs = log.iter().zip(events).find(|(wanted, seen)| wanted != seen);
        if let Some((wanted, seen)) = differs {
            findings.wrong(format!("watcher {watcher} saw {seen:?} where another saw {wanted:?}"));
        } else if events.len() < log.len() {
            let missing = log.len() - events.len();
            findings.wrong(format!("watcher {watcher} missed the last {missing} of {} changes", log.len()));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::check::samples::event;

    fn check_all(streams: &[&[Event]]) -> Findings {
        check(&streams.iter().enumerate().map(|(n, events)| (format!("w{n}"), events.to_vec())).collect())
    }

    #[test]
    fn equal_streams_are_well() {
        let all = [event("a", 1, &[1]), event("b", 4, &[2]), event("a", 9, &[1, 3])];
        assert_eq!(check_all(&[&all, &all]), Findings::default());
        assert_eq!(check_all(&[]), Findings::default());
    }

    #[test]
    fn a_hole_a_repetition_and_a_wrong_order_are_found() {
        let all = [event("a", 1, &[1]), event("b", 4, &[2]), event("a", 9, &[1, 3])];
        let hole = [all[0].clone(), all[2].clone()];
        let twice = [all[0].clone(), all[1].clone(), all[1].clone(), all[2].clone()];
        let swapped = [all[1].clone(), all[0].clone(), all[2].clone()];
        for bad in [&hole[..], &twice, &swapped, &all[..2]] {
            assert!(!check_all(&[&all, bad, &all]).is_clean(), "{bad:?}");
        }
    }
}
