#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_model::{Author, Command, Machine as _, Shard};

use super::*;
use crate::tests::doubles::Map;

#[derive(Default)]
struct Log {
    view: Map,
    sequence: u64,
}

fn entry(sequence: u64, body: &str) -> Entry {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let author = Author {
        principal: "ada".into(),
        node: "a".parse().unwrap(),
        call: Some(uuid::Uuid::from_u128(7)),
        trace: Some(spanwire_model::TraceContext::parse(trace, None).unwrap()),
    };
    let body = Json::parse(body.to_owned().into()).unwrap();
    let command = Command { operation: uuid::Uuid::from_u128(sequence.into()), version: 1, author, body };
    Entry { shard: Shard::REGISTRY, sequence, time_ms: 1000 + sequence, command }
}

impl Log {
    fn apply(&mut self, body: &str) -> Applied {
        self.sequence += 1;
        let mut view = self.view.clone();
        let outcome = Machine.apply(&mut view, &entry(self.sequence, body)).unwrap();
        if outcome.is_ok() {
            self.view = view;
        }
        outcome
    }

    /// Applies one change, and compares its outcome: the JSON, or the reason and a part of the text.
    fn check(&mut self, body: &str, expected: Result<&str, (RefusalReason, &str)>) {
        match (self.apply(body), expected) {
            (Ok(outcome), Ok(expected)) => assert_eq!(outcome.as_str(), expected, "{body}"),
            (Err(refusal), Err((reason, part))) => {
                assert_eq!(refusal.reason, reason, "{body}: {}", refusal.text);
                assert!(refusal.text.contains(part), "{body}: {}", refusal.text);
            }
            (outcome, _) => panic!("{body}: {outcome:?}"),
        }
    }
}

const NEW: Result<&str, (RefusalReason, &str)> = Ok(r#"{"replaced":false}"#);

fn put(spec: &str, home: &str, replace: bool) -> String {
    format!(r#"{{"put_server":{{"spec":{spec},"home":{home},"replace":{replace}}}}}"#)
}

fn spec(id: &str, more: &str) -> String {
    format!(r#"{{"id":"{id}","target":{{"stdio":{{"command":"x ${{V}}"}}}}{more}}}"#)
}

#[test]
fn servers_come_are_replaced_and_go() {
    let mut log = Log::default();
    log.check(&put(&spec("fs", ""), r#""a""#, false), NEW);
    let taken = Err((RefusalReason::Conflict, "server \"fs\" exists already: remove it first, or replace it"));
    log.check(&put(&spec("fs", ""), r#""b""#, false), taken);
    let data = log.apply(&put(&spec("fs", ""), r#""b""#, false)).unwrap_err().data.unwrap();
    assert_eq!(data.as_str(), r#"{"home":"a","by":"ada","version":1}"#, "and nothing of the specification");
    log.check(&put(&spec("fs", r#","placement":"any","replicas":3"#), "null", true), Ok(r#"{"replaced":true}"#));
    log.check(r#"{"remove_server":{"id":"fs"}}"#, Ok(r#"{"removed":true}"#));
    log.check(r#"{"remove_server":{"id":"fs"}}"#, Ok(r#"{"removed":false}"#));
    assert_eq!(log.view.get(b"count/server").unwrap().as_deref(), Some(&b"0"[..]));
    assert!(servers(&log.view).unwrap().is_empty());
}

#[test]
fn a_record_keeps_its_author_and_the_text_of_the_specification() {
    let mut log = Log::default();
    let text = spec("fs", r#","placement":"any","replicas":2,"of_a_later_version":[1]"#);
    log.check(&put(&text, "null", false), NEW);
    let records = servers(&log.view).unwrap();
    let [(id, Some(record))] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((id.as_str(), record.spec.as_str(), record.placement()), ("fs", &*text, (Placement::Any, 2)));
    let Written { principal, node, call, trace, sequence, time_ms } = &record.written;
    assert_eq!((&**principal, node.as_str(), *sequence, *time_ms), ("ada", "a", 1, 1001));
    assert_eq!(call.as_deref(), Some("00000000-0000-0000-0000-000000000007"));
    assert_eq!(trace.as_deref(), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
}

/// What is refused is part of what nodes hash: the words of version 1 stay, whatever the libraries of a build say.
#[test]
fn the_words_of_refusals_never_change() {
    let specification = "unreadable specification of a server: it needs an id and a target; placement is \"here\" or \"any\", \
                         replicas a number";
    for (body, expected) in [
        ("[]", "unreadable command for the registry"),
        (r#"{"dance":{}}"#, "unreadable command for the registry"),
        (&put(r#"{"id":"A B","target":{}}"#, "null", false), specification),
        (&put(r#"{"id":"fs"}"#, "null", false), specification),
        (&put(&spec("fs", r#","placement":"moon""#), "null", false), specification),
    ] {
        assert_eq!(Log::default().apply(body).unwrap_err().text, expected, "{body}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut log = Log::default();
    let mut invalid = |body: &str, part: &'static str| log.check(body, Err((RefusalReason::Invalid, part)));
    invalid("[]", "unreadable command");
    invalid(r#"{"put_server":{}}"#, "unreadable command");
    invalid(r#"{"dance":{}}"#, "unreadable command");
    invalid(r#"{"remove_server":{"id":"fs","twice":true}}"#, "unreadable command");
    invalid(&put(r#"{"id":"A B","target":{}}"#, "null", false), "unreadable specification");
    invalid(&put(r#"{"id":"fs"}"#, r#""a""#, false), "unreadable specification");
    invalid(&put(r#"{"id":"fs","target":7}"#, r#""a""#, false), "has no target");
    invalid(&put(&spec("fs", ""), "null", false), "needs the node");
    invalid(&put(&spec("fs", r#","replicas":2"#), r#""a""#, false), "need the placement \"any\"");
    invalid(&put(&spec("fs", r#","placement":"any""#), r#""a""#, false), "on any node, and on one");
    invalid(&put(&spec("fs", r#","placement":"any","replicas":0"#), "null", false), "0 replicas");
    invalid(&put(&spec("fs", r#","placement":"any","replicas":65"#), "null", false), "65 replicas");
    invalid(&put(&spec("fs", r#","placement":"moon""#), "null", false), "unreadable specification");
    invalid(r#"{"put_agent":{"id":"A","card":{}}}"#, "invalid agent id");
    invalid(r#"{"put_agent":{"id":"ada","card":[]}}"#, "is no JSON object");
    let long = "x".repeat(MAX_RECORD_BYTES);
    log.check(
        &put(&spec("fs", &format!(r#","x":"{long}""#)), r#""a""#, false),
        Err((RefusalReason::Quota, "at most 65536")),
    );
    let card = format!(r#"{{"put_agent":{{"id":"ada","card":{{"x":"{long}"}}}}}}"#);
    log.check(&card, Err((RefusalReason::Quota, "at most 65536")));
    assert_eq!(log.view, Map::default());
}

#[test]
fn agents_are_records_too() {
    let mut log = Log::default();
    log.check(r#"{"put_agent":{"id":"ada","card":{"name":"Ada"}}}"#, NEW);
    log.check(r#"{"put_agent":{"id":"ada","card":{"name":"Ada L."}}}"#, Ok(r#"{"replaced":true}"#));
    let records = agents(&log.view).unwrap();
    let [(id, Some(record))] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&**id, record.card.as_str(), record.written.sequence), ("ada", r#"{"name":"Ada L."}"#, 2));
    log.check(r#"{"remove_agent":{"id":"ada"}}"#, Ok(r#"{"removed":true}"#));
    log.check(r#"{"remove_agent":{"id":"ada"}}"#, Ok(r#"{"removed":false}"#));
}

#[test]
fn the_number_of_servers_is_bounded() {
    let mut log = Log::default();
    log.view.put(b"count/server".to_vec(), (MAX_SERVERS - 1).to_string().into_bytes());
    log.check(&put(&spec("last", ""), r#""a""#, false), NEW);
    log.check(&put(&spec("more", ""), r#""a""#, false), Err((RefusalReason::Quota, "4096 servers already")));
    log.check(&put(&spec("last", ""), r#""b""#, true), Ok(r#"{"replaced":true}"#));
    log.check(r#"{"remove_server":{"id":"last"}}"#, Ok(r#"{"removed":true}"#));
    log.check(&put(&spec("more", ""), r#""a""#, false), NEW);
}

#[test]
fn the_same_log_makes_the_same_view() {
    let bodies: Vec<String> = (0..600)
        .map(|turn| match turn % 5 {
            0..=2 => put(&spec(&format!("s{}", turn % 300), ""), r#""a""#, turn % 2 == 0),
            3 => format!(r#"{{"remove_server":{{"id":"s{}"}}}}"#, turn / 2),
            _ => format!(r#"{{"put_agent":{{"id":"a{turn}","card":{{}}}}}}"#),
        })
        .collect();
    let replay = || {
        let mut log = Log::default();
        let outcomes: Vec<Applied> = bodies.iter().map(|body| log.apply(body)).collect();
        (log.view, outcomes)
    };
    let (view, outcomes) = replay();
    assert_eq!((&view, &outcomes), (&replay().0, &replay().1));
    assert!(outcomes.iter().any(|outcome| outcome.is_err()) && outcomes.iter().any(|outcome| outcome.is_ok()));
    let count: usize = std::str::from_utf8(&view.get(b"count/server").unwrap().unwrap()).unwrap().parse().unwrap();
    assert_eq!(servers(&view).unwrap().len(), count);
    assert!(count > 0, "something is left");
}

#[test]
fn records_are_read_over_all_pages() {
    // Two whole pages of a scan: the last one ends with the records.
    const AGENTS: usize = 512;
    let mut log = Log::default();
    for number in 0..AGENTS {
        log.check(&format!(r#"{{"put_agent":{{"id":"a{number}","card":{{}}}}}}"#), NEW);
    }
    assert_eq!(agents(&log.view).unwrap().len(), AGENTS);
}
