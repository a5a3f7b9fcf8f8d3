//! Keys, conditions, patches, transactions and spaces.

use serde_json::json;
use spanwire_rpc::v1::{
    ContextDescribeSpaceRequest, ContextDropSpaceRequest, ContextGetRequest, ContextListRequest,
    ContextListSpacesRequest, ContextPutRequest, ContextRead, ContextReadLevel, context_condition::Expect,
    context_operation::Change,
};
use tonic::Code;
use uuid::Uuid;

use super::{
    hand::{Hand, at_least, change, expect, put, refused, value},
    world::World,
};

pub(super) async fn check(world: &mut World) {
    let (mut a, mut b) = world.hands("keys").await;
    what_is_written_is_seen_with_its_author(world, &mut a, &mut b).await;
    conditions_hold_or_nothing_happens(&mut a, &mut b).await;
    values_are_patched_and_appended_to(&mut a, &mut b).await;
    a_transaction_is_all_or_nothing(&mut a, &mut b).await;
    a_repeated_operation_is_done_once(&mut a, &mut b).await;
    a_linearizable_read_sees_every_write(&mut a, &mut b).await;
    keys_are_listed_in_pages(world).await;
    spaces_come_and_go(world).await;
    nonsense_is_refused(&mut a).await;
}

async fn what_is_written_is_seen_with_its_author(world: &World, a: &mut Hand, b: &mut Hand) {
    let sequence = a.put("goal", &json!({ "text": "grüße", "n": 1 })).await;
    let entry = b.get("goal", sequence).await.unwrap();
    assert_eq!((entry.version, entry.created), (sequence, sequence));
    assert_eq!(value(&entry), json!({ "text": "grüße", "n": 1 }));
    assert_eq!(entry.bytes, entry.value_json.len() as u64);
    assert!(entry.written_unix_ms > 0 && entry.expires_unix_ms == 0);
    let author = entry.author.unwrap();
    assert_eq!((&*author.principal, &*author.node), ("operator", world.first().id()));
    assert!(author.call_id.parse::<Uuid>().is_ok(), "{author:?}");
    assert_eq!((author.trace_id.len(), author.span_id.len()), (32, 16), "{author:?}");
    assert!(b.get("nothing", sequence).await.is_none());
}

async fn conditions_hold_or_nothing_happens(a: &mut Hand, b: &mut Hand) {
    let first = a.put("plan", &json!(1)).await;
    let second = a.write(vec![expect("plan", Expect::Version(first))], vec![put("plan", &json!(2))]).await.unwrap();
    assert!(second.sequence > first);
    assert_eq!(second.written[0].version, second.sequence);
    for wrong in [Expect::Version(first), Expect::Absent(true)] {
        let outcome = b.write(vec![expect("plan", wrong)], vec![put("plan", &json!(3))]).await;
        let there = refused(outcome, Code::FailedPrecondition, "conflict");
        assert_eq!((&there["key"], &there["version"]), (&json!("plan"), &json!(second.sequence)), "{there}");
        assert_eq!(there["writer"]["principal"], "operator", "{there}");
        assert_eq!(there["writer"]["trace"].as_str().map(str::len), Some(32), "{there}");
    }
    let missing = a.write(vec![expect("none", Expect::Exists(true))], vec![put("none", &json!(1))]).await;
    assert_eq!(refused(missing, Code::FailedPrecondition, "conflict")["exists"], json!(false));
    assert_eq!(value(&b.get("plan", second.sequence).await.unwrap()), json!(2));
    let request = |if_absent, if_version| ContextPutRequest {
        space: "keys".into(),
        key: "once".into(),
        value_json: "1".into(),
        if_absent,
        if_version,
        ..ContextPutRequest::default()
    };
    let made = a.client.put(request(true, 0)).await.unwrap().into_inner();
    refused(b.client.put(request(true, 0)).await, Code::FailedPrecondition, "conflict");
    b.client.put(request(false, made.sequence)).await.unwrap();
}

async fn values_are_patched_and_appended_to(a: &mut Hand, b: &mut Hand) {
    let merge = |text: &'static str| change("doc", Change::MergeJson(text.into()));
    a.write(Vec::new(), vec![merge(r#"{"a": {"b": 1, "c": 2}}"#)]).await.unwrap();
    a.write(Vec::new(), vec![merge(r#"{"a": {"b": null, "d": 3}}"#)]).await.unwrap();
    let patch = r#"[{"op": "test", "path": "/a/c", "value": 2}, {"op": "add", "path": "/list", "value": [1]}]"#;
    let patched = a.write(Vec::new(), vec![change("doc", Change::PatchJson(patch.into()))]).await.unwrap();
    let entry = b.get("doc", patched.sequence).await.unwrap();
    assert_eq!(value(&entry), json!({ "a": { "c": 2, "d": 3 }, "list": [1] }));
    let misfit = r#"[{"op": "test", "path": "/a/c", "value": 9}, {"op": "remove", "path": "/list"}]"#;
    let misfit = b.write(Vec::new(), vec![change("doc", Change::PatchJson(misfit.into()))]).await;
    refused(misfit, Code::FailedPrecondition, "conflict");

    let append = |text: &'static str| change("notes", Change::AppendJson(text.into()));
    let one = a.write(Vec::new(), vec![append(r#"["x"]"#)]).await.unwrap();
    assert_eq!(one.written[0].length, 1);
    let two = b.write(Vec::new(), vec![append(r#"["y", {"z": 1}]"#)]).await.unwrap();
    assert_eq!(two.written[0].length, 3);
    assert_eq!(value(&a.get("notes", two.sequence).await.unwrap()), json!(["x", "y", { "z": 1 }]));
    let entry = b.get("doc", two.sequence).await.unwrap();
    let wrong = change("doc", Change::AppendJson("[1]".into()));
    let outcome = b.write(Vec::new(), vec![wrong]).await.expect_err("an object is no array");
    assert!(matches!(outcome.code(), Code::InvalidArgument | Code::FailedPrecondition), "{outcome:?}");
    let gone = a.write(Vec::new(), vec![change("doc", Change::Delete(true))]).await.unwrap();
    assert!(gone.written[0].changed && gone.written[0].version == 0 && gone.sequence > entry.version);
    assert!(b.get("doc", gone.sequence).await.is_none());
    let again = b.write(Vec::new(), vec![change("doc", Change::Delete(true))]).await.unwrap();
    assert!(!again.written[0].changed);
}

async fn a_transaction_is_all_or_nothing(a: &mut Hand, b: &mut Hand) {
    let left = a.put("left", &json!(10)).await;
    a.put("right", &json!(0)).await;
    let moved = a
        .write(
            vec![expect("left", Expect::Version(left)), expect("right", Expect::Exists(true))],
            vec![put("left", &json!(7)), put("right", &json!(3)), change("log", Change::AppendJson("[3]".into()))],
        )
        .await
        .unwrap();
    for (key, expected) in [("left", json!(7)), ("right", json!(3)), ("log", json!([3]))] {
        let entry = b.get(key, moved.sequence).await.unwrap();
        assert_eq!((value(&entry), entry.version), (expected, moved.sequence), "{key}");
    }
    let half = vec![put("left", &json!(0)), change("right", Change::AppendJson("[1]".into()))];
    b.write(Vec::new(), half).await.expect_err("a number is no array");
    let again = b.write(vec![expect("left", Expect::Version(left))], vec![put("left", &json!(0))]).await;
    refused(again, Code::FailedPrecondition, "conflict");
    assert_eq!(value(&a.get("left", moved.sequence).await.unwrap()), json!(7));
}

async fn a_repeated_operation_is_done_once(a: &mut Hand, b: &mut Hand) {
    let id = Uuid::new_v4().to_string();
    let append = || vec![change("once", Change::AppendJson("[1]".into()))];
    a.write(Vec::new(), vec![change("once", Change::Delete(true))]).await.unwrap();
    let first = a.write_as(&id, Vec::new(), append()).await.unwrap();
    assert_eq!(first.operation, id);
    let again = b.write_as(&id, Vec::new(), append()).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(value(&b.get("once", first.sequence).await.unwrap()), json!([1]));
    // Another write is another operation, whatever id it comes with.
    let other = a.write_as(&id, Vec::new(), vec![put("once", &json!(2))]).await.unwrap();
    assert_eq!(value(&a.get("once", other.sequence).await.unwrap()), json!(2));
}

async fn a_linearizable_read_sees_every_write(a: &mut Hand, b: &mut Hand) {
    for n in 0..5 {
        let version = a.put("now", &json!(n)).await;
        let level = ContextReadLevel::Linearizable.into();
        let read = Some(ContextRead { level, ..ContextRead::default() });
        let request = ContextGetRequest { space: "keys".into(), key: "now".into(), read };
        let got = b.client.get(request).await.unwrap().into_inner();
        assert_eq!(got.entry.unwrap().version, version);
        assert_eq!(got.stale_ms, 0);
    }
}

async fn keys_are_listed_in_pages(world: &World) {
    let (mut a, mut b) = world.hands("pages").await;
    let mut last = 0;
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        last = a.put(key, &json!({ "key": key })).await;
    }
    let ask = |after: &str, limit| ContextListRequest {
        space: "pages".into(),
        prefix: "a/".into(),
        after: after.into(),
        limit,
        read: at_least(last),
        ..ContextListRequest::default()
    };
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let page = b.client.list(ask(&after, 2)).await.unwrap().into_inner();
        assert!(page.entries.iter().all(|entry| value(entry) == json!({ "key": entry.key })));
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    assert_eq!(keys, ["a/1", "a/2", "a/3"]);
    let bare = ContextListRequest { without_values: true, prefix: String::new(), ..ask("", 0) };
    let bare = b.client.list(bare).await.unwrap().into_inner().entries;
    assert_eq!(bare.len(), 4);
    assert!(bare.iter().all(|entry| entry.value_json.is_empty() && entry.bytes > 0));
}

async fn spaces_come_and_go(world: &World) {
    let (mut a, mut b) = world.hands("space-1").await;
    let one = a.put("k", &json!("xyz")).await;
    let (mut other, _) = world.hands("space-2").await;
    other.put("k", &json!(1)).await;
    let linearizable = Some(ContextRead { level: ContextReadLevel::Linearizable.into(), ..ContextRead::default() });
    let list = |after: &str| ContextListSpacesRequest {
        read: linearizable,
        prefix: "space-".into(),
        after: after.into(),
        limit: 1,
    };
    let first = b.client.list_spaces(list("")).await.unwrap().into_inner();
    assert_eq!((&*first.spaces[0].name, first.spaces[0].keys, &*first.next), ("space-1", 1, "space-1"));
    let second = b.client.list_spaces(list(&first.next)).await.unwrap().into_inner();
    assert_eq!((&*second.spaces[0].name, &*second.next), ("space-2", ""));

    let describe = || ContextDescribeSpaceRequest { space: "space-1".into(), read: linearizable };
    let told = b.client.describe_space(describe()).await.unwrap().into_inner();
    let space = told.space.unwrap();
    assert_eq!((space.keys, space.events, space.last), (1, 1, one));
    assert_eq!(told.quotas.unwrap().value_bytes, 256 * 1024);
    assert!(told.shard.starts_with("context."), "{}", told.shard);

    let drop = || ContextDropSpaceRequest { space: "space-1".into(), ..ContextDropSpaceRequest::default() };
    let dropped = a.client.drop_space(drop()).await.unwrap().into_inner();
    assert!(dropped.dropped && dropped.keys == 1, "{dropped:?}");
    assert!(!a.client.drop_space(drop()).await.unwrap().into_inner().dropped);
    let gone = b.client.describe_space(describe()).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound, "{gone:?}");
}

async fn nonsense_is_refused(a: &mut Hand) {
    let get = |space: &str, key: &str| ContextGetRequest { space: space.into(), key: key.into(), read: None };
    for (space, key) in [("", "k"), ("a b", "k"), ("s", ""), ("s", "a\nb")] {
        refused(a.client.get(get(space, key)).await, Code::InvalidArgument, "invalid_params");
    }
    let wrong = vec![change("k", Change::PutJson("{".into()))];
    refused(a.write(Vec::new(), wrong).await, Code::InvalidArgument, "invalid_params");
    let twice = vec![put("k", &json!(1)), put("k", &json!(2))];
    refused(a.write(Vec::new(), twice).await, Code::InvalidArgument, "invalid_params");
    refused(a.write(Vec::new(), Vec::new()).await, Code::InvalidArgument, "invalid_params");
    let id = a.write_as("not-a-uuid", Vec::new(), vec![put("k", &json!(1))]).await;
    refused(id, Code::InvalidArgument, "invalid_params");
    let future = ContextRead { at_least: u64::MAX / 2, timeout_ms: 200, ..ContextRead::default() };
    let request = ContextGetRequest { read: Some(future), ..get("keys", "k") };
    let late = a.client.get(request).await;
    refused(late, Code::DeadlineExceeded, "deadline_exceeded");
}
