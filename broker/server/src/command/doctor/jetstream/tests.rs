use spanwire_ledger::Kept;

use super::*;
use crate::command::doctor::Verdict;

fn stream(name: &str, replicas: u8, clustered: bool, writable: bool) -> SurveyedStream {
    SurveyedStream { name: name.into(), kept: Some(Kept { replicas, clustered, writable }) }
}

#[test]
fn streams_are_judged_by_their_replicas() {
    let missing = SurveyedStream { name: "m".into(), kept: None };
    for (found, wanted, verdict, part) in [
        (vec![missing.clone()], None, Verdict::Ok, "none of this tenant yet"),
        (vec![stream("a", 1, false, true), missing], None, Verdict::Ok, "1 of 2 are there, R1: one server"),
        (vec![stream("a", 3, true, true)], None, Verdict::Ok, "R3, in a cluster"),
        (vec![stream("a", 3, true, true), stream("b", 1, true, true)], None, Verdict::Warn, "in a cluster: b: lost"),
        (vec![stream("a", 3, true, true), stream("b", 1, true, true)], Some(1), Verdict::Ok, "R1 to R3: as ledger"),
        (vec![stream("a", 3, true, false)], None, Verdict::Fail, "keep a are away"),
    ] {
        let finding = streams(&found, wanted);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
    }
}

#[test]
fn no_jetstream_fails_only_where_it_is_demanded() {
    let error = SurveyError::NoJetStream("nobody answers".into());
    assert_eq!(unavailable(&error, LedgerStore::Auto).verdict, Verdict::Warn);
    let finding = unavailable(&error, LedgerStore::Jetstream);
    assert_eq!(finding.verdict, Verdict::Fail);
    assert!(finding.advice.contains("-js") && finding.advice.contains("ledger.store = \"local\""), "{finding:?}");
}
