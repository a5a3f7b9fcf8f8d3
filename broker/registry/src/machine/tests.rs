#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_model::{Author, Command, Machine as _, Shard};

use super::*;
use crate::tests::doubles::Map;

#[derive(Default)]
struct Log {
    view: Map,
    sequence: u64,
}

fn entry(sequence: u64, version: u16, body: &str) -> Entry {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let author = Author {
        principal: "ada".into(),
        node: "a".parse().unwrap(),
        call: Some(uuid::Uuid::from_u128(7)),
        trace: Some(spanwire_model::TraceContext::parse(trace, None).unwrap()),
    };
    let body = Json::parse(body.to_owned().into()).unwrap();
    let command = Command { operation: uuid::Uuid::from_u128(sequence.into()), version, author, body };
    Entry { shard: Shard::REGISTRY, sequence, time_ms: 1000 + sequence, command }
}

impl Log {
    /// Applies one change in the newest version.
    fn apply(&mut self, body: &str) -> Applied {
        self.apply_as(COMMAND_VERSION, body)
    }

    fn apply_as(&mut self, version: u16, body: &str) -> Applied {
        self.sequence += 1;
        let mut view = self.view.clone();
        let outcome = Machine.apply(&mut view, &entry(self.sequence, version, body)).unwrap();
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
    let page = agents(&log.view, &query(None, 9)).unwrap();
    let [Agent { id, known: Some(known) }] = page.agents.as_slice() else { panic!("{page:?}") };
    assert_eq!((id.as_str(), known.card.as_str(), known.version), ("ada", r#"{"name":"Ada L."}"#, 2));
    assert_eq!((&*known.by, known.node.as_str(), known.time_ms), ("ada", "a", 1002));
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
fn an_agent_is_added_once() {
    let mut log = Log::default();
    let add = |id: &str, card: &str| format!(r#"{{"add_agent":{{"id":"{id}","card":{card}}}}}"#);
    log.check(&add("ada", r#"{ "name" : "Ada", "x":1.0 }"#), NEW);
    let taken = Err((RefusalReason::Conflict, "agent \"ada\" exists already: remove it first, or replace it"));
    log.check(&add("ada", "{}"), taken);
    let data = log.apply(&add("ada", "{}")).unwrap_err().data.unwrap();
    assert_eq!(data.as_str(), r#"{"by":"ada","version":1}"#);
    let page = agents(&log.view, &query(None, 9)).unwrap();
    assert_eq!(page.agents[0].known.as_ref().unwrap().card.as_str(), r#"{ "name" : "Ada", "x":1.0 }"#, "byte for byte");
    log.check(&add("A", "{}"), Err((RefusalReason::Invalid, "invalid agent id")));
    log.check(r#"{"remove_agent":{"id":"ada"}}"#, Ok(r#"{"removed":true}"#));
    log.check(&add("ada", "{}"), NEW);
    assert_eq!(agent_count(&log.view).unwrap(), 1);
}

/// Logs are applied again by later versions: what a command of version 1 did, and that it did nothing, is so for ever.
#[test]
fn an_old_command_means_what_it_meant() {
    let mut log = Log::default();
    let add = r#"{"add_agent":{"id":"ada","card":{}}}"#;
    assert_eq!(log.apply_as(1, add).unwrap_err().text, "unreadable command for the registry");
    let put = r#"{"put_agent":{"id":"ada","card":{}}}"#;
    assert_eq!(log.apply_as(1, put).unwrap().as_str(), r#"{"replaced":false}"#);
    assert_eq!(log.apply_as(1, put).unwrap().as_str(), r#"{"replaced":true}"#, "it never had a condition");
    assert_eq!(log.apply_as(2, put).unwrap().as_str(), r#"{"replaced":true}"#);
    assert_eq!(log.apply_as(2, add).unwrap_err().reason, RefusalReason::Conflict);
    let change = |body: &str| Json::parse(body.to_owned().into()).unwrap().read::<Change>().unwrap().version();
    assert_eq!((change(put), change(add), change(r#"{"remove_agent":{"id":"ada"}}"#)), (1, 2, 1));
}

fn query(after: Option<&str>, limit: usize) -> AgentQuery {
    AgentQuery { id: None, after: after.map(|id| id.parse().unwrap()), limit }
}

#[test]
fn agents_are_read_page_by_page() {
    let mut log = Log::default();
    for number in 0..40 {
        log.check(&format!(r#"{{"put_agent":{{"id":"a{number:02}","card":{{}}}}}}"#), NEW);
    }
    let check = |after: Option<&str>, limit: usize, first: &str, count: usize, next: Option<&str>| {
        let page = agents(&log.view, &query(after, limit)).unwrap();
        let first_id = page.agents.first().map_or("", |agent| agent.id.as_str());
        let seen = (first_id, page.agents.len(), page.next.as_ref().map(|id| id.as_str()), page.total);
        assert_eq!(seen, (first, count, next, 40), "{after:?} {limit}");
    };
    check(None, 100, "a00", 40, None);
    check(None, 20, "a00", 20, Some("a19"));
    check(Some("a19"), 20, "a20", 20, Some("a39"));
    check(Some("a39"), 20, "", 0, None);
    check(Some("a19"), 21, "a20", 20, None);
    check(Some("b"), 21, "", 0, None);
    let one = |id: &str| AgentQuery { id: Some(id.parse().unwrap()), ..query(None, 1) };
    assert_eq!(agents(&log.view, &one("a07")).unwrap().agents[0].id.as_str(), "a07");
    assert_eq!(agents(&log.view, &one("a77")).unwrap().agents, []);
}

#[test]
fn a_page_of_large_cards_ends_early() {
    const LARGE: usize = 60 * 1024;
    let mut log = Log::default();
    let card = format!(r#"{{"x":"{}"}}"#, "x".repeat(LARGE));
    for number in 0..100 {
        log.check(&format!(r#"{{"put_agent":{{"id":"a{number:02}","card":{card}}}}}"#), NEW);
    }
    let (mut seen, mut after) = (0, None);
    loop {
        let page = agents(&log.view, &AgentQuery { after, ..query(None, 1000) }).unwrap();
        assert!(page.agents.len() * LARGE < 4 * 1024 * 1024, "it fits into a message: {}", page.agents.len());
        seen += page.agents.len();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, 100);
}

#[test]
fn records_are_read_over_all_pages() {
    // Two whole pages of a scan: the last one ends with the records.
    const SERVERS: usize = 512;
    let mut log = Log::default();
    for number in 0..SERVERS {
        log.check(&put(&spec(&format!("s{number}"), ""), r#""a""#, false), NEW);
    }
    assert_eq!(servers(&log.view).unwrap().len(), SERVERS);
}
