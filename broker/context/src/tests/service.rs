//! The context through its service, on a ledger in memory.

use std::sync::{Arc, atomic::Ordering};

use spanwire_model::{ErrorKind, ReadLevel, ShardState};
use spanwire_telemetry::Telemetry;
use uuid::Uuid;

use super::{append, author, deadline, delete, json, key, ledger::MemoryLedger, now, options, put, space};
use crate::{
    Access, AllowList, Config, Contexts, Expect, ListQuery, LogQuery, OnBehalf, Operation, Options, Quotas, Reading,
    Rule, Transaction, Verb,
};

pub(super) fn contexts() -> (Contexts, Arc<MemoryLedger>, Telemetry) {
    contexts_with(|config| config)
}

pub(super) fn contexts_with(change: impl FnOnce(Config) -> Config) -> (Contexts, Arc<MemoryLedger>, Telemetry) {
    let node: spanwire_model::NodeId = "left".parse().unwrap();
    let telemetry = Telemetry::disabled(node.clone());
    let ledger = Arc::new(MemoryLedger::new());
    let contexts = Contexts::new(ledger.clone(), change(Config::new(node)), telemetry.clone());
    (contexts, ledger, telemetry)
}

pub(super) fn ann(contexts: &Contexts) -> OnBehalf {
    contexts.on_behalf(author("ann"))
}

#[tokio::test]
async fn what_is_written_is_read() {
    let (contexts, _, _) = contexts();
    let ann = ann(&contexts);
    let plan = space("plan");
    let transaction = Transaction {
        conditions: vec![],
        operations: vec![put("team/a", "[1]"), put("team/b", "2"), put("zoo", "3"), delete("none")],
    };
    let written = ann.write(&plan, transaction, options()).await.unwrap();
    assert_eq!(written.sequence, 1);
    assert_eq!(written.results.iter().map(|done| done.version).collect::<Vec<_>>(), [Some(1), Some(1), Some(1), None]);
    assert_eq!(written.results.iter().map(|done| done.changed).collect::<Vec<_>>(), [true, true, true, false]);
    let written = ann.write(&plan, Transaction::one(append("team/a", &["2"])), options()).await.unwrap();
    assert_eq!((written.sequence, written.results[0].length), (2, Some(2)));
    let reading = Reading { level: ReadLevel::AtLeast(2), deadline: deadline() };
    let seen = ann.get(&plan, &key("team/a"), reading).await.unwrap();
    let item = seen.value.unwrap();
    assert_eq!((item.value.unwrap().as_str(), item.version, item.created, seen.sequence), ("[1,2]", 2, 1, 2));
    let both = ann.get_many(&plan, &[key("zoo"), key("none")], now()).await.unwrap();
    assert_eq!(both.value.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    let query = ListQuery { prefix: "team/".into(), limit: 1, ..ListQuery::default() };
    let page = ann.list(&plan, &query, now()).await.unwrap().value;
    assert_eq!((page.items[0].key.clone(), page.next.clone()), (key("team/a"), Some(key("team/a"))));
    assert_eq!(page.items[0].value, None);
    let query = ListQuery { after: page.next, values: true, ..query };
    let page = ann.list(&plan, &query, now()).await.unwrap().value;
    assert_eq!(
        (page.items[0].key.clone(), page.items[0].value.clone(), page.next),
        (key("team/b"), Some(json("2")), None)
    );
    let snapshot = ann.snapshot(&plan, "", u64::MAX, now()).await.unwrap();
    assert_eq!((snapshot.value.len(), snapshot.sequence), (3, 2));
    let query = LogQuery { prefix: "team/a".into(), values: true, limit: 1, ..LogQuery::default() };
    let page = ann.log(&plan, &query, now()).await.unwrap().value;
    assert_eq!((page.events.len(), page.events[0].value.clone(), page.next), (1, Some(json("[1]")), Some(2)));
    let page = ann.log(&plan, &LogQuery { from: 2, ..query }, now()).await.unwrap().value;
    assert_eq!((page.events.len(), page.next), (1, None));
    assert_eq!(ann.versions(&plan, &key("team/a"), 1, now()).await.unwrap().value[0].sequence, 2);
    let info = ann.describe(&plan, now()).await.unwrap().value.unwrap();
    assert_eq!((info.keys, info.events, info.last), (3, 4, 2));
    ann.write(&space("a"), Transaction::one(put("x", "1")), options()).await.unwrap();
    let names = |found: crate::SpacePage| found.spaces.iter().map(|info| info.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(ann.spaces("", None, 0, now()).await.unwrap()), ["a", "plan"]);
    assert_eq!(names(ann.spaces("p", None, 0, now()).await.unwrap()), ["plan"]);
    assert_eq!(names(ann.spaces("", Some(&space("a")), 0, now()).await.unwrap()), ["plan"]);
    let page = ann.spaces("", None, 1, now()).await.unwrap();
    assert_eq!((page.next.as_ref(), names(page.clone())), (Some(&space("a")), vec!["a".to_owned()]));
    assert_eq!(ann.spaces("p", None, 1, now()).await.unwrap().next, None);
    assert_eq!(ann.drop_space(&plan, options()).await.unwrap(), Some(3));
    assert_eq!(ann.describe(&plan, now()).await.unwrap().value, None);
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_found_out_by_its_operation() {
    let (contexts, ledger, _) = contexts();
    let ann = ann(&contexts);
    let once = || Transaction::one(append("log", &["1"]));
    ledger.loses_next.store(true, Ordering::SeqCst);
    let error = ann.write(&space("s"), once(), options()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
    let operation: Uuid = error.data.unwrap().get("operation").unwrap().read().unwrap();
    let again = Options { operation: Some(operation), ..options() };
    let written = ann.write(&space("s"), once(), again).await.unwrap();
    assert_eq!((written.sequence, written.results[0].length), (1, Some(1)));
}

#[tokio::test]
async fn an_operation_id_tells_nothing_of_another_write() {
    let rule = Rule { principal: "ann".into(), space: "*".into(), key: "*".into(), verbs: Verb::ALL.to_vec() };
    let part = Rule { principal: "bob".into(), key: "open/*".into(), ..rule.clone() };
    let access: Arc<dyn Access> = Arc::new(AllowList::new(vec![rule, part]));
    let (contexts, _, _) = contexts_with(|config| Config { access, ..config });
    let (ann, bob) = (ann(&contexts), contexts.on_behalf(author("bob")));
    let again = Options { operation: Some(Uuid::from_u128(7)), ..options() };
    let shard = Contexts::shard_of(&space("plan"));
    let names = (0..).map(|number| space(&format!("s{number}")));
    let other = names.into_iter().find(|name| Contexts::shard_of(name) == shard).unwrap();
    for name in [&space("plan"), &other] {
        ann.write(name, Transaction::one(put("a", "1")), options()).await.unwrap();
    }
    assert_eq!(ann.drop_space(&space("plan"), again).await.unwrap(), Some(1));
    assert_eq!(ann.drop_space(&space("plan"), again).await.unwrap(), Some(1));
    // Another space, another write, and another principal's, under the same id: each is done, and answers for itself.
    assert!(ann.describe(&other, now()).await.unwrap().value.is_some());
    let refused = Transaction::one(put("a", "2")).when(key("a"), Expect::Absent);
    let refused = ann.write(&other, refused, again).await.unwrap_err();
    assert_eq!((refused.kind, refused.data.is_some()), (ErrorKind::Conflict, true));
    let open = || Transaction::one(put("open/a", "1"));
    let one = bob.write(&other, open(), again).await.unwrap();
    assert_eq!(bob.write(&other, open(), again).await.unwrap(), one);
    assert_ne!(ann.write(&other, open(), again).await.unwrap().sequence, one.sequence);
    assert_eq!(ann.drop_space(&other, again).await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_node_that_is_cut_off_says_so() {
    let (contexts, ledger, _) = contexts();
    let ann = ann(&contexts);
    ann.write(&space("s"), Transaction::one(put("a", "1")), options()).await.unwrap();
    ledger.set_state(ShardState::CutOff);
    let error = ann.write(&space("s"), Transaction::one(put("a", "2")), options()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let seen = ann.get(&space("s"), &key("a"), now()).await.unwrap();
    assert_eq!((seen.value.unwrap().version, seen.stale_ms), (1, Some(1500)));
    let reading = Reading { level: ReadLevel::Linearizable, deadline: deadline() };
    assert_eq!(ann.get(&space("s"), &key("a"), reading).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(ann.snapshot(&space("s"), "", u64::MAX, reading).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_write_is_a_span_of_its_caller_and_the_author_of_its_versions() {
    let (contexts, ledger, telemetry) = contexts();
    let ann = ann(&contexts);
    ann.write(&space("s"), Transaction::one(put("a", "1")), options()).await.unwrap();
    let unmet = Transaction::one(put("a", "2")).when(key("a"), Expect::Absent);
    assert_eq!(ann.write(&space("s"), unmet, options()).await.unwrap_err().kind, ErrorKind::Conflict);
    let spans = telemetry.ring().trace(0xabc).unwrap();
    assert_eq!(spans.len(), 2);
    for span in &spans {
        assert_eq!((span.name.as_ref(), span.parent_span_id), ("context write", Some(0xdef)));
    }
    let item = ann.get(&space("s"), &key("a"), now()).await.unwrap().value.unwrap();
    let span = format!("{:016x}", spans[0].span_id);
    assert_eq!(item.writer.span.as_deref(), Some(span.as_str()));
    let entry = ledger.entries(Contexts::shard_of(&space("s"))).remove(0);
    assert_eq!(entry.command.author.trace.unwrap().span_id, spans[0].span_id);
    let text = telemetry.metrics().encode_openmetrics();
    for outcome in ["done", "conflict"] {
        let line = format!("spanwire_context_operations_total{{operation=\"put\",outcome=\"{outcome}\"}} 1");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_not_there() {
    let rule = |principal: &str, key: &str, verbs: &[Verb]| Rule {
        principal: principal.into(),
        space: "s".into(),
        key: key.into(),
        verbs: verbs.to_vec(),
    };
    let rules = vec![
        rule("ann", "*", &Verb::ALL),
        rule("bob", "open/*", &[Verb::Read, Verb::Write]),
        rule("bob", "box", &[Verb::Append]),
    ];
    let access: Arc<dyn Access> = Arc::new(AllowList::new(rules));
    let quotas = Quotas { keys: 4, ..Quotas::default() };
    let (contexts, _, _) = contexts_with(|config| Config { access, quotas, ..config });
    let (ann, bob, eve) = (ann(&contexts), contexts.on_behalf(author("bob")), contexts.on_behalf(author("eve")));
    let s = space("s");
    let transaction = Transaction { conditions: vec![], operations: vec![put("open/a", "1"), put("shut/a", "1")] };
    ann.write(&s, transaction, options()).await.unwrap();
    assert_eq!(bob.get(&s, &key("shut/a"), now()).await.unwrap().value, None);
    assert!(bob.get(&s, &key("open/a"), now()).await.unwrap().value.is_some());
    assert_eq!(bob.list(&s, &ListQuery::default(), now()).await.unwrap().value.items.len(), 1);
    // Keys that may not be read count for nothing: "open/a" and "1" are seven bytes.
    assert_eq!(bob.snapshot(&s, "", 7, now()).await.unwrap().value.len(), 1);
    assert_eq!(bob.snapshot(&s, "", 6, now()).await.unwrap_err().kind, ErrorKind::TooLarge);
    assert_eq!(ann.snapshot(&s, "", 7, now()).await.unwrap_err().kind, ErrorKind::TooLarge);
    assert_eq!(ann.snapshot(&s, "shut/", 7, now()).await.unwrap().value.len(), 1);
    assert_eq!(bob.log(&s, &LogQuery::default(), now()).await.unwrap().value.events.len(), 1);
    assert!(bob.versions(&s, &key("shut/a"), 0, now()).await.unwrap().value.is_empty());
    assert_eq!(bob.get_many(&s, &[key("shut/a")], now()).await.unwrap().value, [None]);
    let told = bob.describe(&s, now()).await.unwrap().value.unwrap();
    assert_eq!((told.keys, told.bytes, told.events, told.log_bytes, told.last), (0, 0, 0, 0, 0));
    assert_eq!(bob.spaces("", None, 0, now()).await.unwrap().spaces, [told]);
    assert_eq!(ann.spaces("", None, 0, now()).await.unwrap().spaces[0].keys, 2);
    assert!(eve.describe(&s, now()).await.unwrap().value.is_none());
    assert!(eve.spaces("", None, 0, now()).await.unwrap().spaces.is_empty());
    let denied = async |transaction| {
        let error = bob.write(&s, transaction, options()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied);
    };
    denied(Transaction::one(put("shut/b", "1"))).await;
    denied(Transaction::one(put("open/b", "1")).when(key("shut/a"), Expect::Absent)).await;
    denied(Transaction::one(put("box", "1"))).await;
    denied(Transaction::one(Operation::PatchMerge { key: key("box"), patch: json("{}") })).await;
    // Whoever may only append learns nothing of what is there.
    let written = bob.write(&s, Transaction::one(append("box", &["1"])), options()).await.unwrap();
    assert_eq!(written.results[0].length, None);
    ann.write(&s, Transaction::one(put("box", "1")), options()).await.unwrap();
    let error = bob.write(&s, Transaction::one(append("box", &["1"])), options()).await.unwrap_err();
    assert_eq!((error.kind, error.data), (ErrorKind::Conflict, None));
    assert_eq!(eve.log(&s, &LogQuery::default(), now()).await.unwrap().value.events, []);
    bob.write(&s, Transaction::one(put("open/b", "1")), options()).await.unwrap();
    // What is there already is not told by a refusal either.
    let refused = |who: &OnBehalf| {
        let (who, s) = (who.clone(), s.clone());
        async move {
            let error = who.write(&s, Transaction::one(put("open/c", "1")), options()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::QuotaExceeded);
            (error.public.to_string(), error.data.unwrap().to_value())
        }
    };
    let (text, data) = refused(&bob).await;
    assert_eq!((&data["quota"], &data["limit"], data.get("wanted")), (&"keys".into(), &4.into(), None));
    assert_eq!(text, "the write is more than the quota \"keys\" allows: 4");
    assert_eq!(refused(&ann).await.1["wanted"], 5);
    assert_eq!(bob.drop_space(&s, options()).await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(ann.drop_space(&s, options()).await.unwrap(), Some(4));
    assert_eq!(bob.log(&s, &LogQuery::default(), now()).await.unwrap().value.events.len(), 1);
    assert_eq!(eve.log(&s, &LogQuery::default(), now()).await.unwrap().value.events, []);
}
