//! The server that counts saw every call at most once, and every acknowledged one exactly once.

use std::collections::HashMap;

use super::Findings;
use crate::cluster::journal::{Act, Operation, Outcome};

/// `file` is what the server wrote: one mark a line, one line for each time that it was called.
pub fn check(operations: &[Operation], file: &str) -> Findings {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for mark in file.lines() {
        *seen.entry(mark).or_default() += 1;
    }
    let mut findings = Findings::default();
    for (index, operation) in operations.iter().enumerate() {
        let Act::Call { mark } = &operation.act else { continue };
        let times = seen.remove(mark.as_str()).unwrap_or_default();
        if times > 1 {
            findings.doubled.push(index);
            findings.wrong(format!("call {mark} was executed {times} times"));
        }
        match &operation.outcome {
            Outcome::Called if times == 0 => {
                findings.lost.push(index);
                findings.wrong(format!("call {mark} was answered and not executed"));
            }
            Outcome::NotDone(kind) if times > 0 => {
                findings.wrong(format!("call {mark} was executed, and ended as {kind}, which says that it was not"));
            }
            Outcome::Called | Outcome::NotDone(_) | Outcome::Unknown(_) => {}
            Outcome::Written(_) | Outcome::Read(_) | Outcome::Refused(_) => {
                findings.wrong(format!("call {mark} has the outcome {:?}", operation.outcome));
            }
        }
    }
    for (mark, _) in seen {
        findings.wrong(format!("call {mark} was executed and never made"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::check::samples::operation;

    fn call(mark: &str, outcome: Outcome) -> Operation {
        operation(Act::Call { mark: mark.to_owned() }, 0, 1, outcome)
    }

    #[test]
    fn each_call_once_and_unknown_ones_at_most_once() {
        let operations = [
            call("a", Outcome::Called),
            call("b", Outcome::Unknown("stream_lost".to_owned())),
            call("c", Outcome::Unknown("deadline_exceeded".to_owned())),
            call("d", Outcome::NotDone("unavailable".to_owned())),
        ];
        assert_eq!(check(&operations, "a\nb\n"), Findings::default());
    }

    #[test]
    fn what_is_lost_doubled_denied_or_invented_is_found() {
        let operations = [
            call("a", Outcome::Called),
            call("b", Outcome::Called),
            call("c", Outcome::Unknown("stream_lost".to_owned())),
            call("d", Outcome::NotDone("unavailable".to_owned())),
        ];
        let found = check(&operations, "b\nb\nc\nc\nd\ne\n");
        assert_eq!((found.lost, found.doubled), (vec![0], vec![1, 2]));
        assert_eq!(found.wrong.len(), 5, "{:?}", found.wrong);
    }
}
