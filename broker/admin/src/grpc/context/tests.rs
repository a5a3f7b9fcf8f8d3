#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use spanwire_context::{Expect, Operation};
use spanwire_model::{ErrorKind, ReadLevel};
use spanwire_rpc::v1::{
    self, ContextReadLevel as Level, context_condition::Expect as Expected, context_operation::Change,
};
use tokio::time::Instant;

use super::request::{limit, options, put, reading, reading_of_all, transaction};

fn read(level: Level, at_least: u64) -> Option<v1::ContextRead> {
    Some(v1::ContextRead { level: level.into(), at_least, timeout_ms: 0 })
}

#[test]
fn how_current_an_answer_must_be() {
    let check = |read: Option<v1::ContextRead>, expected: Option<ReadLevel>| {
        assert_eq!(reading(read).ok().map(|reading| reading.level), expected, "{read:?}");
    };
    check(None, Some(ReadLevel::Local));
    check(read(Level::Unspecified, 0), Some(ReadLevel::Local));
    check(read(Level::Unspecified, 7), Some(ReadLevel::AtLeast(7)));
    check(read(Level::AtLeast, 7), Some(ReadLevel::AtLeast(7)));
    check(read(Level::AtLeast, 0), None);
    check(read(Level::Local, 0), Some(ReadLevel::Local));
    check(read(Level::Local, 7), None);
    check(read(Level::Linearizable, 0), Some(ReadLevel::Linearizable));
    check(read(Level::Linearizable, 7), None);
    check(Some(v1::ContextRead { level: 99, ..Default::default() }), None);
    assert!(reading_of_all(read(Level::Linearizable, 0)).is_ok());
    assert_eq!(reading_of_all(read(Level::AtLeast, 7)).unwrap_err().kind, ErrorKind::InvalidParams);
}

#[test]
fn waits_and_pages_are_bounded() {
    let most = Instant::now() + Duration::from_secs(61);
    assert!(options("", u64::MAX).unwrap().deadline < most);
    assert_eq!((limit(0), limit(3), limit(u32::MAX)), (100, 3, 1000));
}

#[test]
fn every_write_has_an_id() {
    let id = "0b2c6ab4-29b9-4a07-b3a5-2b4b6a9a2e57";
    assert_eq!(options(id, 0).unwrap().operation.unwrap().to_string(), id);
    assert_ne!(options("", 0).unwrap().operation, options("", 0).unwrap().operation);
    assert_eq!(options("x", 0).unwrap_err().kind, ErrorKind::InvalidParams);
}

#[test]
fn a_put_is_a_write_of_one_key() {
    let ask =
        || v1::ContextPutRequest { key: "k".into(), value_json: r#"{"a": 1}"#.as_bytes().into(), ..Default::default() };
    let check = |request: v1::ContextPutRequest, expected: Option<Expect>| {
        let transaction = put(request).unwrap();
        assert_eq!(transaction.conditions.first().map(|condition| condition.is), expected);
        let Operation::Put { key, value, ttl_ms } = &transaction.operations[0] else { panic!("{transaction:?}") };
        assert_eq!((key.as_str(), value.as_str(), *ttl_ms), ("k", r#"{"a": 1}"#, None));
    };
    check(ask(), None);
    check(v1::ContextPutRequest { if_version: 3, ..ask() }, Some(Expect::Version(3)));
    check(v1::ContextPutRequest { if_absent: true, ..ask() }, Some(Expect::Absent));
    for wrong in [
        v1::ContextPutRequest { if_absent: true, if_version: 3, ..ask() },
        v1::ContextPutRequest { value_json: "{".into(), ..ask() },
        v1::ContextPutRequest { key: String::new(), ..ask() },
    ] {
        assert_eq!(put(wrong).unwrap_err().kind, ErrorKind::InvalidParams);
    }
}

#[test]
fn a_write_says_all_that_it_wants() {
    let operation = |change: Option<Change>, ttl_ms: u64| {
        let operation = v1::ContextOperation { key: "k".into(), change, ttl_ms };
        transaction(Vec::new(), vec![operation]).map(|transaction| transaction.operations[0].clone())
    };
    let appended = operation(Some(Change::AppendJson(r#"[1,"x"]"#.into())), 0).unwrap();
    let Operation::Append { values, .. } = &appended else { panic!("{appended:?}") };
    assert_eq!(values.iter().map(|value| value.as_str()).collect::<Vec<_>>(), ["1", "\"x\""]);
    let put = operation(Some(Change::PutJson("1".into())), 5).unwrap();
    assert!(matches!(put, Operation::Put { ttl_ms: Some(5), .. }));
    assert!(matches!(operation(Some(Change::MergeJson("{}".into())), 0), Ok(Operation::PatchMerge { .. })));
    assert!(matches!(operation(Some(Change::PatchJson("[]".into())), 0), Ok(Operation::PatchJson { .. })));
    assert!(matches!(operation(Some(Change::Delete(true)), 0), Ok(Operation::Delete { .. })));
    for (change, ttl_ms) in [
        (None, 0),
        (Some(Change::Delete(false)), 0),
        (Some(Change::Delete(true)), 5),
        (Some(Change::AppendJson("1".into())), 0),
        (Some(Change::MergeJson("{".into())), 0),
    ] {
        let text = format!("{change:?}");
        assert_eq!(operation(change, ttl_ms).unwrap_err().kind, ErrorKind::InvalidParams, "{text}");
    }

    let condition = |expect: Option<Expected>| {
        let condition = v1::ContextCondition { key: "k".into(), expect };
        transaction(vec![condition], Vec::new()).map(|transaction| transaction.conditions[0].is)
    };
    assert_eq!(condition(Some(Expected::Version(3))).unwrap(), Expect::Version(3));
    assert_eq!(condition(Some(Expected::Absent(true))).unwrap(), Expect::Absent);
    assert_eq!(condition(Some(Expected::Exists(true))).unwrap(), Expect::Exists);
    for wrong in [None, Some(Expected::Absent(false)), Some(Expected::Exists(false))] {
        assert_eq!(condition(wrong).unwrap_err().kind, ErrorKind::InvalidParams, "{wrong:?}");
    }
}
