//! Logs, watches, snapshots, and keys that go when their time is over.

use serde_json::json;
use spanwire_rpc::v1::{
    ContextChange, ContextLogRequest, ContextSnapshotRequest, context_operation::Change, context_snapshot_part::Part,
};
use tokio::time::{Instant, sleep};

use super::{
    hand::{at_least, change, next, put, value},
    world::{LOOK_EVERY, World},
};

/// Longest that a key may stay whose time is over.
const EXPIRY: std::time::Duration = std::time::Duration::from_secs(40);

pub(super) async fn check(world: &mut World) {
    what_happened_is_told_once_and_in_order(world).await;
    a_watch_goes_on_where_it_was(world).await;
    a_snapshot_is_of_one_moment(world).await;
    keys_go_when_their_time_is_over(world).await;
}

async fn what_happened_is_told_once_and_in_order(world: &World) {
    let (mut a, mut b) = world.hands("told").await;
    let first = a.put("x/1", &json!({ "n": 1 })).await;
    let watched = ["", "x/"].map(str::to_owned);
    let mut all = b.watch(&watched[0], first).await;
    let mut some = b.watch(&watched[1], first).await;
    let both = vec![put("x/1", &json!({ "n": 2 })), put("y", &json!("other"))];
    let second = a.write(Vec::new(), both).await.unwrap().sequence;
    let third =
        a.write(Vec::new(), vec![change("x/1", Change::MergeJson(r#"{"m":3}"#.into()))]).await.unwrap().sequence;
    let fourth = a.write(Vec::new(), vec![change("x/2", Change::AppendJson("[7]".into()))]).await.unwrap().sequence;
    let fifth = a.write(Vec::new(), vec![change("x/1", Change::Delete(true))]).await.unwrap().sequence;

    let expected = [
        (ContextChange::Put, first, 0, "x/1", Some(json!({ "n": 1 }))),
        (ContextChange::Put, second, 0, "x/1", Some(json!({ "n": 2 }))),
        (ContextChange::Put, second, 1, "y", Some(json!("other"))),
        (ContextChange::Patch, third, 0, "x/1", Some(json!({ "n": 2, "m": 3 }))),
        (ContextChange::Append, fourth, 0, "x/2", Some(json!([7]))),
        (ContextChange::Delete, fifth, 0, "x/1", None),
    ];
    for (kind, sequence, index, key, new) in &expected {
        for events in [&mut all, &mut some].into_iter().take(if *key == "y" { 1 } else { 2 }) {
            let event = next(events).await;
            assert_eq!((event.change(), event.sequence, event.index, &*event.key), (*kind, *sequence, *index, *key));
            let got = (!event.value_json.is_empty()).then(|| serde_json::from_slice(&event.value_json).unwrap());
            assert_eq!(&got, new, "{event:?}");
            assert_eq!(event.author.unwrap().principal, "operator");
        }
    }
    let log = b.log(0, at_least(fifth)).await.unwrap();
    let told: Vec<_> = log.events.iter().map(|event| (event.change(), event.sequence, event.key.as_str())).collect();
    let wanted: Vec<_> = expected.iter().map(|(kind, sequence, _, key, _)| (*kind, *sequence, *key)).collect();
    assert_eq!((told, log.next), (wanted, 0));
    assert!(log.first <= first);

    let ask = ContextLogRequest { space: "told".into(), limit: 2, read: at_least(fifth), ..Default::default() };
    let page = b.client.log(ask.clone()).await.unwrap().into_inner();
    // A write is not torn apart.
    assert_eq!((page.events.len(), page.next), (3, third));
    let of_key = ContextLogRequest { key: "x/1".into(), ..ask };
    let of_key = b.client.log(of_key).await.unwrap().into_inner().events;
    assert_eq!(of_key.iter().map(|event| event.sequence).collect::<Vec<_>>(), [third, fifth]);
}

async fn a_watch_goes_on_where_it_was(world: &World) {
    let (mut a, mut b) = world.hands("goes-on").await;
    let mut sequences = Vec::new();
    for n in 0..20 {
        sequences.push(a.put("n", &json!(n)).await);
    }
    let mut from = sequences[0];
    let mut seen = Vec::new();
    // A new watch every few changes, in turn through both nodes.
    for turn in 0..4 {
        let hand = if turn % 2 == 0 { &mut b } else { &mut a };
        let mut events = hand.watch("", from).await;
        for _ in 0..5 {
            let event = next(&mut events).await;
            from = event.sequence + 1;
            seen.push(event.sequence);
        }
    }
    assert_eq!(seen, sequences);
    // From now on: nothing of what was.
    let mut now = a.watch("", 0).await;
    let later = a.put("n", &json!("later")).await;
    assert_eq!(next(&mut now).await.sequence, later);
}

async fn a_snapshot_is_of_one_moment(world: &World) {
    let (mut a, mut b) = world.hands("moment").await;
    let mut last = 0;
    for n in 0..30 {
        last = a.put(&format!("k/{n:02}"), &json!(n)).await;
    }
    let request = ContextSnapshotRequest { space: "moment".into(), prefix: "k/".into(), read: at_least(last) };
    let mut parts = b.client.snapshot(request).await.unwrap().into_inner();
    let head = parts.message().await.unwrap().unwrap();
    let Some(Part::Sequence(sequence)) = head.part else { panic!("{head:?}") };
    assert!(sequence >= last);
    let mut keys = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        let Some(Part::Entry(entry)) = part.part else { panic!("{part:?}") };
        assert_eq!(value(&entry), json!(keys.len()));
        keys.push(entry.key);
    }
    assert_eq!(keys, (0..30).map(|n| format!("k/{n:02}")).collect::<Vec<_>>());
    let mut after = b.watch("", sequence + 1).await;
    let next_write = a.put("k/00", &json!("new")).await;
    assert_eq!(next(&mut after).await.sequence, next_write);
}

async fn keys_go_when_their_time_is_over(world: &World) {
    let (mut a, mut b) = world.hands("brief").await;
    let short = a.put_for("short", &json!(1), 1000).await;
    let long = a.put_for("long", &json!(1), 3_600_000).await;
    let entry = b.get("long", long).await.unwrap();
    assert_eq!(entry.expires_unix_ms, entry.written_unix_ms + 3_600_000);
    let mut events = b.watch("short", short).await;
    let put = next(&mut events).await;
    let event = tokio::time::timeout(EXPIRY, next(&mut events)).await.expect("the key goes");
    assert_eq!((event.change(), &*event.key), (ContextChange::Expire, "short"));
    // By the log's own clock, which is the only one that counts.
    assert!(event.written_unix_ms >= put.written_unix_ms + 1000, "{put:?} {event:?}");
    let deadline = Instant::now() + EXPIRY;
    while a.get("short", event.sequence).await.is_some() {
        assert!(Instant::now() < deadline, "the key is still there");
        sleep(LOOK_EVERY).await;
    }
    assert!(b.get("long", event.sequence).await.is_some());
}
