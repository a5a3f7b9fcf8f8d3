//! What commands do, by table.

use spanwire_mcp::Json;
use spanwire_model::{Applied, Command, Entry, Refusal, RefusalReason};
use uuid::Uuid;

use super::{append, author, delete, json, key, memory::Memory, put, put_for, space};
use crate::{
    ContextMachine, Contexts, EventKind, Expect, LogQuery, Operation, Quotas, SpaceName, Transaction,
    command::{Body, Dropped, Expired, Outcome},
    layout, reads,
};

/// A shard and its log's clock.
pub(super) struct Shard {
    pub(super) memory: Memory,
    pub(super) sequence: u64,
    pub(super) time_ms: u64,
    pub(super) quotas: Quotas,
    /// That of its commands.
    pub(super) version: u16,
}

impl Shard {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self { memory: Memory::default(), sequence: 0, time_ms: 1_000_000, quotas, version: 1 }
    }

    pub(super) fn entry(&mut self, body: &Body) -> Entry {
        self.sequence += 1;
        let body = Json::from_serialize(body).unwrap();
        let command = Command { operation: Uuid::from_u128(1), version: self.version, author: author("ann"), body };
        let shard = Contexts::shard_of(&space("s"));
        Entry { shard, sequence: self.sequence, time_ms: self.time_ms, command }
    }

    pub(super) fn apply(&mut self, body: &Body) -> Applied {
        let entry = self.entry(body);
        self.memory.apply(&ContextMachine, &entry)
    }

    pub(super) fn write(&mut self, name: &str, transaction: Transaction) -> Result<Outcome, Refusal> {
        let body = Body::Write { space: space(name), transaction, quotas: self.quotas };
        self.apply(&body).map(|outcome| outcome.read().unwrap())
    }

    fn one(&mut self, operation: Operation) -> Result<Outcome, Refusal> {
        self.write("s", Transaction::one(operation))
    }

    fn refused(&mut self, operation: Operation) -> (RefusalReason, String) {
        let before = self.memory.pairs.clone();
        let refusal = self.one(operation).expect_err("a refusal");
        assert_eq!(self.memory.pairs, before);
        (refusal.reason, refusal.text)
    }

    fn expire(&mut self) -> u64 {
        let body = Body::Expire { limit: 100, quotas: self.quotas };
        self.apply(&body).unwrap().read::<Expired>().unwrap().expired
    }

    pub(super) fn drop(&mut self, name: &str) -> Option<u64> {
        self.apply(&Body::Drop { space: space(name) }).unwrap().read::<Dropped>().unwrap().keys
    }

    fn value(&self, name: &str) -> Option<String> {
        let item = reads::item(&self.memory, &space("s"), &key(name)).unwrap()?;
        Some(item.value.unwrap().as_str().to_owned())
    }

    fn version(&self, name: &str) -> Option<u64> {
        reads::item(&self.memory, &space("s"), &key(name)).unwrap().map(|item| item.version)
    }

    pub(super) fn first(&self, name: &str) -> u64 {
        reads::log(&self.memory, &space(name), &LogQuery::default(), &|_| true).unwrap().first
    }

    pub(super) fn log(&self, name: &SpaceName) -> Vec<(u64, EventKind, Option<String>, Option<String>)> {
        let query = LogQuery { values: true, ..LogQuery::default() };
        let page = reads::log(&self.memory, name, &query, &|_| true).unwrap();
        let text = |json: Json| json.as_str().to_owned();
        let told = page.events.into_iter();
        told.map(|event| (event.sequence, event.kind, event.key.map(|key| key.to_string()), event.value.map(text)))
            .collect()
    }
}

pub(super) fn small() -> Quotas {
    Quotas { value_bytes: 20, keys: 3, bytes: 40, log_events: 5, log_bytes: 10_000, spaces: 2, operations: 4 }
}

#[test]
fn every_operation() {
    let mut shard = Shard::new(Quotas::default());
    let text = r#"{ "n": 123456789012345678901234567890, "f": 1.10 }"#;
    assert_eq!(shard.one(put("a", text)).unwrap().done[0].version, Some(1));
    assert_eq!(shard.value("a").unwrap(), text);
    let patch = Operation::PatchMerge { key: key("a"), patch: json(r#"{"f":null,"x":1}"#) };
    shard.one(patch).unwrap();
    assert_eq!(shard.value("a").unwrap(), r#"{"n":123456789012345678901234567890,"x":1}"#);
    let patch = Operation::PatchJson { key: key("a"), patch: json(r#"[{"op":"remove","path":"/n"}]"#) };
    shard.one(patch).unwrap();
    assert_eq!((shard.value("a").unwrap().as_str(), shard.version("a")), (r#"{"x":1}"#, Some(3)));
    assert_eq!(shard.one(append("l", &["1", "[2]"])).unwrap().done[0].length, Some(2));
    assert_eq!(shard.one(append("l", &["3"])).unwrap().done[0].length, Some(3));
    assert_eq!(shard.value("l").unwrap(), "[1,[2],3]");
    shard.one(put("l", "[ ]")).unwrap();
    assert_eq!(shard.one(append("l", &["null"])).unwrap().done[0].length, Some(1));
    assert_eq!(shard.value("l").unwrap(), "[null]");
    assert!(!shard.one(delete("a")).unwrap().done[0].idle);
    assert!(shard.one(delete("a")).unwrap().done[0].idle);
    assert_eq!(shard.value("a"), None);
    shard.one(Operation::PatchMerge { key: key("m"), patch: json(r#"{"a":{"b":null}}"#) }).unwrap();
    assert_eq!(shard.value("m").unwrap(), r#"{"a":{}}"#);
    let kinds: Vec<_> = shard.log(&space("s")).into_iter().map(|(sequence, kind, _, _)| (sequence, kind)).collect();
    use EventKind::{Append, Delete, Patch, Put};
    assert_eq!(
        kinds,
        [(1, Put), (2, Patch), (3, Patch), (4, Append), (5, Append), (6, Put), (7, Append), (8, Delete), (10, Patch)]
    );
    assert_eq!(shard.log(&space("s"))[3].3.as_deref(), Some("[1,[2]]"));
    let versions = reads::versions(&shard.memory, &space("s"), &key("a"), 0).unwrap();
    assert_eq!(versions.iter().map(|event| event.version).collect::<Vec<_>>(), [Some(1), Some(2), Some(3), None]);
    let writer = &versions[0].writer;
    assert_eq!((&*writer.principal, writer.node.as_str()), ("ann", "left"));
    assert_eq!(writer.trace.as_deref(), Some("00000000000000000000000000000abc"));
    assert_eq!(writer.span.as_deref(), Some("0000000000000def"));
}

#[test]
fn conditions_say_what_is_there() {
    let mut shard = Shard::new(Quotas::default());
    shard.one(put("a", "1")).unwrap();
    let mut check = |is: Expect, name: &str, holds: bool| {
        let transaction = Transaction::one(put("b", "1")).when(key(name), is);
        let done = shard.write("s", transaction);
        assert_eq!(done.is_ok(), holds, "{name} {is:?}");
        done.err().map(|refusal| {
            assert_eq!(refusal.reason, RefusalReason::Conflict);
            refusal.data.unwrap().to_value()
        })
    };
    check(Expect::Exists, "a", true);
    check(Expect::Absent, "x", true);
    check(Expect::Version(1), "a", true);
    check(Expect::Version(1), "x", false);
    check(Expect::Exists, "x", false);
    let data = check(Expect::Absent, "a", false).unwrap();
    assert_eq!((&data["key"], &data["exists"], &data["version"]), (&"a".into(), &true.into(), &1.into()));
    assert_eq!((&data["writer"]["principal"], &data["writer"]["node"]), (&"ann".into(), &"left".into()));
    assert_eq!(data["writer"]["trace"], "00000000000000000000000000000abc");
    let data = check(Expect::Version(7), "a", false).unwrap();
    assert_eq!(data["expected"]["version"], 7);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut shard = Shard::new(Quotas::default());
    shard.one(put("a", r#"{"x":1}"#)).unwrap();
    use RefusalReason::{Conflict, Invalid};
    let patch = |patch: &str| Operation::PatchJson { key: key("a"), patch: json(patch) };
    for (operation, reason, part) in [
        (append("a", &["1"]), Conflict, "holds no array"),
        (append("b", &[]), Invalid, "nothing is appended"),
        (put_for("b", "1", 0), Invalid, "0 ms"),
        (patch(r#"[{"op":"test","path":"/x","value":2}]"#), Conflict, "step 0"),
        (patch(r#"[{"op":"nope","path":"/x"}]"#), Invalid, "is none"),
        (Operation::PatchJson { key: key("b"), patch: json("[]") }, Conflict, "not there"),
        (put("b", &format!("{}{}", "[".repeat(49), "]".repeat(49))), Invalid, "nests deeper"),
    ] {
        let (refused, text) = shard.refused(operation);
        assert!(refused == reason && text.contains(part), "{refused:?} {text}");
    }
    let twice = Transaction { conditions: vec![], operations: vec![put("x", "1"), delete("x")] };
    assert!(shard.write("s", twice).unwrap_err().text.contains("two operations"));
    assert!(shard.write("s", Transaction::default()).unwrap_err().text.contains("needs an operation"));
    let mut entry = shard.entry(&Body::Drop { space: space("s") });
    for body in ["{}", "[]", r#"{"write":{"space":"/","transaction":{"do":[]}}}"#, r#"{"later":{}}"#] {
        entry.command.body = json(body);
        let refusal = shard.memory.apply(&ContextMachine, &entry).unwrap_err();
        assert_eq!(refusal.reason, Invalid, "{body}");
    }
}

/// What is refused is part of what nodes hash: the words of version 1 stay, whatever the libraries of a build say.
#[test]
fn the_words_of_refusals_never_change() {
    let mut shard = Shard::new(Quotas::default());
    shard.one(put("a", r#"{"x":1}"#)).unwrap();
    let none = "the patch of key \"a\" is none: ";
    let steps =
        "it must be an array of objects with \"op\" and \"path\", and \"from\" or \"value\" where they are needed";
    for (patch, expected) in [
        ("{}", format!("{none}{steps}")),
        ("[7]", format!("{none}{steps}")),
        (r#"[{"op":"add"}]"#, format!("{none}{steps}")),
        (r#"[{"op":7,"path":"/x"}]"#, format!("{none}{steps}")),
        (r#"[{"op":"add","op":"add","path":"/x"}]"#, format!("{none}{steps}")),
        (r#"[{"op":"add","path":"/x"}]"#, format!("{none}step 0: \"add\" needs a value")),
        (r#"[{"op":"move","path":"/x"}]"#, format!("{none}step 0: \"move\" needs a \"from\"")),
        (r#"[{"op":"nope","path":"/x"}]"#, format!("{none}step 0: there is no \"nope\"")),
        (r#"[{"op":"remove","path":"x"}]"#, format!("{none}step 0: \"x\" is no JSON pointer")),
        (r#"[{"op":"remove","path":"/y"}]"#, "the patch does not fit key \"a\": step 0: there is no \"/y\"".to_owned()),
    ] {
        let (_, text) = shard.refused(Operation::PatchJson { key: key("a"), patch: json(patch) });
        assert_eq!(text, expected, "{patch}");
    }
    let mut entry = shard.entry(&Body::Drop { space: space("s") });
    for body in ["{}", "[]", r#"{"write":{"space":"/","transaction":{"do":[]}}}"#, r#"{"later":{}}"#] {
        entry.command.body = json(body);
        let refusal = shard.memory.apply(&ContextMachine, &entry).unwrap_err();
        assert_eq!((refusal.text.as_str(), refusal.data), ("this is no command of the context", None), "{body}");
    }
}

#[test]
fn quotas_are_kept() {
    let mut shard = Shard::new(small());
    let check = |shard: &mut Shard, operation: Operation, quota: Option<&str>| {
        let refused = shard.one(operation).err().map(|refusal| {
            assert_eq!(refusal.reason, RefusalReason::Quota);
            refusal.data.unwrap().to_value()["quota"].as_str().unwrap().to_owned()
        });
        assert_eq!(refused.as_deref(), quota);
    };
    check(&mut shard, put("a", &format!("\"{}\"", "x".repeat(19))), Some("value_bytes"));
    check(&mut shard, put("a", &format!("\"{}\"", "x".repeat(18))), None);
    check(&mut shard, put("b", &format!("\"{}\"", "x".repeat(17))), Some("bytes"));
    check(&mut shard, put("b", &format!("\"{}\"", "x".repeat(14))), None);
    check(&mut shard, put("c", "1"), None);
    check(&mut shard, put("a", "1"), None);
    check(&mut shard, put("d", "1"), Some("keys"));
    let five = (0..5).map(|number| put(&format!("k{number}"), "1")).collect();
    let refusal = shard.write("s", Transaction { conditions: vec![], operations: five }).unwrap_err();
    assert!(refusal.text.contains("operations of a transaction: 5, the limit is 4"), "{}", refusal.text);
    // A swap within the limit passes, whatever its order.
    let swap = Transaction { conditions: vec![], operations: vec![put("e", "1"), delete("a")] };
    shard.write("s", swap).unwrap();
    shard.write("t", Transaction::one(put("a", "1"))).unwrap();
    let refusal = shard.write("u", Transaction::one(put("a", "1"))).unwrap_err();
    assert_eq!(refusal.data.unwrap().to_value()["quota"], "spaces");
    // Deleting what is not there makes no space.
    shard.write("u", Transaction::one(delete("a"))).unwrap();
    assert_eq!(reads::describe(&shard.memory, &space("u")).unwrap(), None);
}

#[test]
fn a_limit_that_was_lowered_lets_nothing_grow() {
    let mut shard = Shard::new(Quotas::default());
    for name in ["a", "b", "c", "d", "e"] {
        shard.one(put(name, "\"0123456789\"")).unwrap();
    }
    shard.quotas = small();
    assert_eq!(shard.refused(put("f", "1")).0, RefusalReason::Quota);
    shard.one(put("a", "1")).unwrap();
    shard.one(delete("b")).unwrap();
    assert_eq!(shard.log(&space("s")).len(), 5);
    // No command gets past the ceiling.
    shard.quotas = Quotas { value_bytes: u64::MAX, ..Quotas::default() };
    let large = format!("\"{}\"", "x".repeat(700 * 1024));
    assert!(shard.refused(put("x", &large)).1.contains("limit is 655360"));
}

#[test]
fn the_log_forgets_whole_writes_from_its_beginning() {
    let mut shard = Shard::new(Quotas { keys: 100, bytes: 10_000, ..small() });
    let three = |from: u32| Transaction {
        conditions: vec![],
        operations: (from..from + 3).map(|number| put(&format!("k{number}"), "1")).collect(),
    };
    shard.write("s", three(0)).unwrap();
    shard.write("s", three(3)).unwrap();
    let sequences = |shard: &Shard| shard.log(&space("s")).iter().map(|event| event.0).collect::<Vec<_>>();
    assert_eq!((sequences(&shard), shard.first("s")), (vec![2, 2, 2], 2));
    shard.one(put("x", "1")).unwrap();
    shard.one(put("x", "2")).unwrap();
    assert_eq!(sequences(&shard), [2, 2, 2, 3, 4]);
    shard.one(put("x", "3")).unwrap();
    assert_eq!((sequences(&shard), shard.first("s")), (vec![3, 4, 5], 3));
    assert_eq!(shard.memory.count("v/"), 3);
    shard.quotas.log_events = 0;
    shard.one(put("x", "4")).unwrap();
    assert_eq!((sequences(&shard), shard.first("s")), (vec![], 7));
}

#[test]
fn keys_go_when_their_time_is_over_by_the_log() {
    let mut shard = Shard::new(Quotas::default());
    shard.one(put_for("a", "[]", 100)).unwrap();
    shard.one(put_for("b", "1", 50)).unwrap();
    shard.one(put_for("c", "1", 50)).unwrap();
    shard.one(append("a", &["1"])).unwrap();
    shard.one(put("b", "2")).unwrap();
    assert_eq!(reads::next_due(&shard.memory).unwrap(), Some(1_000_050));
    shard.time_ms += 49;
    assert_eq!(shard.expire(), 0);
    shard.time_ms += 1;
    assert_eq!(shard.expire(), 1);
    assert_eq!((shard.value("c"), shard.value("b").as_deref()), (None, Some("2")));
    shard.time_ms += 50;
    assert_eq!((shard.expire(), shard.value("a"), reads::next_due(&shard.memory).unwrap()), (1, None, None));
    let last = shard.log(&space("s")).pop().unwrap();
    assert_eq!((last.1, last.2.as_deref()), (EventKind::Expire, Some("a")));
    // Over several spaces, several keys of one, in one entry.
    for name in ["s", "t"] {
        for key in ["x", "y"] {
            shard.write(name, Transaction::one(put_for(key, "1", 10))).unwrap();
        }
    }
    shard.time_ms += 10;
    assert_eq!((shard.expire(), shard.memory.count("x/"), shard.memory.count("k/")), (4, 0, 1));
    assert_eq!(shard.log(&space("t")).len(), 4);
}

#[test]
fn a_dropped_space_leaves_only_the_news_of_it() {
    let mut shard = Shard::new(small());
    assert_eq!(shard.drop("s"), None);
    shard.one(put_for("a", "1", 10)).unwrap();
    shard.one(put("b", "1")).unwrap();
    shard.write("t", Transaction::one(put("a", "1"))).unwrap();
    assert_eq!(shard.drop("s"), Some(2));
    assert_eq!(shard.drop("s"), None);
    assert_eq!(shard.log(&space("s")), [(5, EventKind::Drop, None, None)]);
    assert_eq!(reads::describe(&shard.memory, &space("s")).unwrap(), None);
    let all = reads::spaces(&shard.memory, "", None, 10, &|_| true).unwrap();
    assert_eq!(all.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["t"]);
    assert_eq!((shard.memory.count("x/"), shard.memory.count("t/"), shard.memory.count("m/s/")), (0, 1, 0));
    // It may be made again, with what is known of its log.
    shard.one(put("a", "2")).unwrap();
    assert_eq!(shard.version("a"), Some(7));
    let info = reads::describe(&shard.memory, &space("s")).unwrap().unwrap();
    assert_eq!((info.first, info.keys, info.events, shard.memory.count("t/")), (5, 1, 2, 0));
    assert_eq!(reads::shard_record(&shard.memory).unwrap().spaces, 2);
    assert_eq!(reads::shard_record(&shard.memory).unwrap().dropped, 0);
}

#[test]
fn old_drops_are_forgotten_in_order() {
    let mut shard = Shard::new(Quotas::default());
    for number in 0..1002 {
        shard.write(&format!("s{number}"), Transaction::one(put("a", "1"))).unwrap();
        shard.drop(&format!("s{number}"));
    }
    let record = reads::shard_record(&shard.memory).unwrap();
    assert_eq!(
        (record.spaces, record.dropped, shard.memory.count("t/"), shard.memory.count("s/")),
        (0, 1000, 1000, 1000)
    );
    // Two drops are forgotten, at 2 and 4: whoever watched from before may have missed what was in any space.
    assert_eq!((record.floor, shard.first("s0")), (5, 5));
    assert_eq!(shard.first("s1001"), 2004);
    assert_eq!(layout::name_after::<SpaceName>(b"s/x", layout::SPACES).unwrap(), space("x"));
}

#[test]
fn shards_of_spaces_never_change() {
    let shards = ["a", "plan", "team.notes", "notes"].map(|name| Contexts::shard_of(&space(name)).number);
    assert_eq!(shards, [2, 1, 2, 0]);
}
