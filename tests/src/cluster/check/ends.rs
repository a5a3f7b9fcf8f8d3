//! In the end every node has what the changes came to, and nothing else.

use super::{Findings, Snapshot};
use crate::cluster::journal::Event;

/// `log` is every change of the keys, in its order; `snapshots` are the nodes', in theirs.
pub fn check(log: &[Event], snapshots: &[Snapshot]) -> Findings {
    let mut last = Snapshot::new();
    for event in log {
        last.insert(event.key.clone(), event.state.clone());
    }
    let mut findings = Findings::default();
    for (node, snapshot) in snapshots.iter().enumerate() {
        for (key, wanted) in &last {
            let found = snapshot.get(key);
            if found != Some(wanted) {
                findings.wrong(format!("node {node} has {found:?} as {key}, and the log says {wanted:?}"));
            }
        }
        for key in snapshot.keys().filter(|key| !last.contains_key(*key)) {
            findings.wrong(format!("node {node} has {key}, and the log does not"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::check::samples::event;

    #[test]
    fn a_node_with_less_more_or_other_keys_is_found() {
        let log = [event("k", 3, &[1]), event("l", 4, &[2]), event("k", 8, &[1, 2])];
        let good: Snapshot = [&log[1], &log[2]].map(|event| (event.key.clone(), event.state.clone())).into();
        assert!(check(&log, &[good.clone(), good.clone()]).is_clean());
        let (mut less, mut more, mut older) = (good.clone(), good.clone(), good.clone());
        less.remove("l");
        more.insert("m".to_owned(), log[0].state.clone());
        older.insert("k".to_owned(), log[0].state.clone());
        for bad in [less, more, older] {
            assert_eq!(check(&log, &[good.clone(), bad]).wrong.len(), 1);
        }
    }
}
