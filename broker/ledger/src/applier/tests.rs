#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{self, Cursor};

use spanwire_model::RefusalReason;

use super::*;
use crate::{
    snapshot,
    testing::{command, logged, machines, open, put},
    wire::{Kind, Message},
};

const SHARD: Shard = Shard::REGISTRY;

async fn applier(folder: &std::path::Path) -> Applier {
    applier_of(folder, 1, Options::ALONE).await
}

async fn applier_of(folder: &std::path::Path, version: u16, options: Options) -> Applier {
    Applier::open(open(folder).await, &machines(version), options).await.unwrap()
}

fn value(applier: &Applier, key: &str) -> Option<String> {
    let mut found = None;
    let mut read = |view: &dyn spanwire_model::View, _| {
        found = view.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap());
        Ok(())
    };
    applier.read(SHARD, &mut read).unwrap();
    found
}

fn puts(count: u64) -> Vec<Logged> {
    (1..=count).map(|sequence| logged(sequence, &put(&format!("k{}", sequence % 7), &sequence.to_string()))).collect()
}

#[tokio::test]
async fn entries_are_applied_once_in_order_and_survive() {
    let folder = tempfile::tempdir().unwrap();
    let first = applier(folder.path()).await;
    let progress = first.apply(SHARD, puts(20)).await.unwrap();
    assert!(progress.error.is_none());
    assert_eq!(
        progress.receipts.iter().map(|(_, receipt)| receipt.sequence).collect::<Vec<_>>(),
        Vec::from_iter(1..=20)
    );
    let position = first.position(SHARD).unwrap();
    assert_eq!((position.sequence, position.time_ms), (20, 1_020));
    assert_eq!(value(&first, "k6").as_deref(), Some("20"));
    assert_eq!(*first.applied(SHARD).unwrap().borrow(), 20);
    // Again: nothing.
    assert!(first.apply(SHARD, puts(20)).await.unwrap().receipts.is_empty());
    assert_eq!(first.position(SHARD).unwrap(), position);
    drop(first);
    let second = applier(folder.path()).await;
    assert_eq!(second.position(SHARD).unwrap(), position);
    assert_eq!(second.outcome(SHARD, Uuid::from_u128(5)).unwrap().unwrap().sequence, 5);
    // What is missing, and what is different, is told.
    let gap = second.apply(SHARD, vec![logged(22, &put("a", "b"))]).await.unwrap().error.unwrap();
    assert!(matches!(gap, ApplyError::Gap { applied: 20, found: 22, .. }));
    let other = second.apply(SHARD, vec![logged(20, &put("a", "other"))]).await.unwrap().error.unwrap();
    assert!(matches!(other, ApplyError::Diverged { sequence: 20, .. }));
    assert!(second.apply(SHARD, vec![logged(21, &put("a", "b"))]).await.unwrap().error.is_none(), "it goes on");
}

#[tokio::test]
async fn equal_logs_make_equal_hashes_and_any_difference_shows() {
    let hash = async |entries: Vec<Logged>| {
        let folder = tempfile::tempdir().unwrap();
        let applier = applier(folder.path()).await;
        applier.apply(SHARD, entries).await.unwrap();
        applier.position(SHARD).unwrap().hash
    };
    let expected = hash(puts(30)).await;
    assert_eq!(hash(puts(30)).await, expected);
    let mut other = puts(30);
    other[3] = logged(4, &put("k4", "4 "));
    assert_ne!(hash(other).await, expected);
    assert_ne!(hash(puts(29)).await, expected);
}

#[tokio::test]
async fn an_operation_is_applied_once_and_is_forgotten_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { operations_kept: 10, ..Options::FOLLOWER };
    let applier = applier_of(folder.path(), 1, options).await;
    let count = |sequence, operation| {
        let payload = Message::of(command(operation, r#"{"do":"count","key":"n"}"#)).encode();
        Logged { sequence, time_ms: 0, payload }
    };
    let receipts = applier.apply(SHARD, vec![count(1, 7), count(2, 7), count(3, 8)]).await.unwrap().receipts;
    let seen: Vec<_> =
        receipts.into_iter().map(|(_, receipt)| (receipt.sequence, receipt.outcome.unwrap().to_value())).collect();
    assert_eq!(seen, [(1, 1.into()), (1, 1.into()), (3, 2.into())]);
    applier.apply(SHARD, (4..=11).map(|sequence| count(sequence, u128::from(sequence) + 100)).collect()).await.unwrap();
    assert!(applier.outcome(SHARD, Uuid::from_u128(7)).unwrap().is_none(), "eleven entries later");
    assert!(applier.outcome(SHARD, Uuid::from_u128(8)).unwrap().is_some());
    let again = applier.apply(SHARD, vec![count(12, 7)]).await.unwrap().receipts;
    assert_eq!(again[0].1.sequence, 12);
}

#[tokio::test]
async fn a_refusal_changes_nothing_and_is_an_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let applier = applier(folder.path()).await;
    let bodies = [r#"{"do":"refuse","key":"r"}"#, "7", r#"{"do":"fill","key":"big","bytes":1048577}"#];
    let entries = (1..).zip(bodies).map(|(sequence, body)| logged(sequence, body)).collect();
    let receipts = applier.apply(SHARD, entries).await.unwrap().receipts;
    let reasons: Vec<_> = receipts.iter().map(|(_, receipt)| receipt.outcome.as_ref().unwrap_err().reason).collect();
    assert_eq!(reasons, [RefusalReason::Quota, RefusalReason::Invalid, RefusalReason::Quota]);
    assert_eq!((value(&applier, "r"), value(&applier, "big")), (None, None));
    let known = applier.outcome(SHARD, Uuid::from_u128(1)).unwrap().unwrap();
    assert_eq!(known, receipts[0].1);
}

#[tokio::test]
async fn large_values_are_whole_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let applier = applier(folder.path()).await;
    let fill = |sequence, bytes| logged(sequence, &format!(r#"{{"do":"fill","key":"big","bytes":{bytes}}}"#));
    for (sequence, bytes) in (1..).zip([1024 * 1024, 61 * 1024, 60 * 1024, 200_000, 0]) {
        assert!(applier.apply(SHARD, vec![fill(sequence, bytes)]).await.unwrap().error.is_none());
        assert_eq!(value(&applier, "big").unwrap().len(), bytes);
    }
    let pieces = applier.store.tree().iter(crate::shard::prefix(SHARD), None);
    let large = pieces.filter(|item| item.as_ref().unwrap().0.windows(3).any(|window| window == b"big"));
    assert_eq!(large.count(), 1, "the pieces of the larger values are gone");
}

#[tokio::test]
async fn what_must_not_be_skipped_stops_the_shard_until_it_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let mut newer = command(2, &put("a", "2"));
    newer.version = 2;
    let entries =
        vec![logged(1, &put("a", "1")), Logged { sequence: 2, time_ms: 0, payload: Message::of(newer).encode() }];
    let old = applier_of(folder.path(), 1, Options::FOLLOWER).await;
    let progress = old.apply(SHARD, entries.clone()).await.unwrap();
    assert_eq!(progress.receipts.len(), 1);
    assert!(progress.error.unwrap().to_string().contains("it is of version 2, known is 1"));
    let after = old.apply(SHARD, vec![logged(3, &put("a", "3"))]).await.unwrap().error.unwrap();
    assert!(matches!(after, ApplyError::Newer { sequence: 2, .. }));
    assert_eq!(value(&old, "a").as_deref(), Some("1"));
    drop(old);
    let new = applier_of(folder.path(), 2, Options::FOLLOWER).await;
    assert!(new.apply(SHARD, entries).await.unwrap().error.is_none());
    assert_eq!(value(&new, "a").as_deref(), Some("2"));
    drop(new);
    // Back to the old version: its machine may not understand what is there.
    let old = applier_of(folder.path(), 1, Options::FOLLOWER).await;
    assert!(matches!(old.stopped(SHARD).unwrap(), Some(ApplyError::Newer { .. })));
    for broken in ["", r#"{"v":1}"#, r#"{"v":9,"kind":"x"}"#] {
        let folder = tempfile::tempdir().unwrap();
        let applier = applier(folder.path()).await;
        let entry = Logged { sequence: 1, time_ms: 0, payload: broken.into() };
        assert!(applier.apply(SHARD, vec![entry]).await.unwrap().error.unwrap().stops());
        assert!(applier.stopped(SHARD).unwrap().is_some());
    }
}

#[tokio::test]
async fn a_panic_of_a_machine_costs_its_shard_only() {
    let folder = tempfile::tempdir().unwrap();
    let applier = applier(folder.path()).await;
    let error = applier.apply(SHARD, vec![logged(1, r#"{"do":"panic"}"#)]).await.unwrap().error.unwrap();
    assert_eq!(error.to_string(), "the machine of shard registry.0 panicked at entry 1: as asked");
    let other = Shard { book: Book::Context, number: 3 };
    assert!(applier.apply(other, puts(3)).await.unwrap().error.is_none());
}

#[tokio::test]
async fn barriers_count_and_checkpoints_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let applier = applier(folder.path()).await;
    applier.apply(SHARD, puts(3)).await.unwrap();
    let hash = applier.position(SHARD).unwrap().hash.to_string();
    let own = |sequence, kind| {
        let payload = Message::own(kind, "left".parse().unwrap()).encode();
        Logged { sequence, time_ms: 0, payload }
    };
    let good = Kind::Checkpoint { sequence: 3, hash };
    let unknown = Kind::Checkpoint { sequence: 99, hash: "?".into() };
    let entries = vec![own(4, Kind::Barrier), own(5, good), own(6, unknown)];
    let progress = applier.apply(SHARD, entries).await.unwrap();
    assert!(progress.error.is_none() && progress.receipts.is_empty());
    let told: Vec<_> =
        progress.voices.iter().map(|voice| (voice.of, voice.own == Some(voice.hash), voice.own.is_some())).collect();
    assert_eq!(told, [(3, true, true), (99, false, false)]);
    let wrong = own(7, Kind::Checkpoint { sequence: 4, hash: "00".into() });
    let progress = applier.apply(SHARD, vec![wrong]).await.unwrap();
    let voice = &progress.voices[0];
    assert!(progress.error.is_none() && voice.own.is_some_and(|own| own != voice.hash), "{voice:?}");
    assert_eq!(voice.node.as_str(), "left");
    let position = applier.position(SHARD).unwrap();
    assert_eq!((position.sequence, position.time_ms), (7, 1_003), "time never goes back");
}

#[tokio::test]
async fn a_snapshot_is_the_view_as_it_was_while_writing_goes_on() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = applier(one.path()).await;
    source.apply(SHARD, puts(50)).await.unwrap();
    let before = source.position(SHARD).unwrap();
    let pinned = source.cell(SHARD).unwrap().pin();
    let more = (51..=80).map(|sequence| logged(sequence, &put(&format!("k{}", sequence % 9), "later"))).collect();
    source.apply(SHARD, more).await.unwrap();
    let mut bytes = Vec::new();
    let header = snapshot::write(SHARD, &pinned, &mut bytes).unwrap();
    assert_eq!((header.sequence, header.hash), (50, before.hash));
    bytes.extend(b"what follows");
    let target = applier(two.path()).await;
    target.apply(SHARD, puts(3)).await.unwrap();
    let (position, mut rest) = target.install(SHARD, Cursor::new(bytes.clone())).await.unwrap();
    assert_eq!((position.sequence, position.hash, position.digest), (50, before.hash, before.digest));
    assert_eq!((value(&target, "k1").as_deref(), value(&target, "k8")), (Some("50"), None));
    let mut left = String::new();
    io::Read::read_to_string(&mut rest, &mut left).unwrap();
    assert_eq!(left, "what follows");
    // The same entries lead to the same hash, and what operations gave is known.
    let more: Vec<_> =
        (51..=80).map(|sequence| logged(sequence, &put(&format!("k{}", sequence % 9), "later"))).collect();
    target.apply(SHARD, more).await.unwrap();
    assert_eq!(target.position(SHARD).unwrap().hash, source.position(SHARD).unwrap().hash);
    assert_eq!(target.outcome(SHARD, Uuid::from_u128(9)).unwrap().unwrap().sequence, 9);
    let (_, of_source) = source.snapshot(SHARD, Vec::new()).await.unwrap();
    let (_, of_target) = target.snapshot(SHARD, Vec::new()).await.unwrap();
    assert_eq!(of_source, of_target);
    // A byte that changed, or is missing, leaves the view that is there.
    let whole = target.position(SHARD).unwrap();
    for damage in [bytes.len() - 40, bytes.len() / 2, 25, 3] {
        let mut broken = bytes.clone();
        broken[damage] ^= 1;
        assert!(target.install(SHARD, Cursor::new(broken)).await.is_err(), "byte {damage}");
        assert!(target.install(SHARD, Cursor::new(bytes[..damage].to_vec())).await.is_err());
    }
    assert!(target.install(Shard { book: Book::Context, number: 0 }, Cursor::new(bytes)).await.is_err());
    assert_eq!(target.position(SHARD).unwrap(), whole);
    drop(target);
    let folder = two.path().to_owned();
    let target = applier(&folder).await;
    assert_eq!(target.position(SHARD).unwrap(), whole);
    let strays = target.store.tree().iter(crate::shard::prefix(SHARD), None).filter(|item| {
        let key = &item.as_ref().unwrap().0;
        !key.starts_with(&crate::shard::view_prefix(SHARD, whole.generation)) && !key.ends_with(b"position")
    });
    assert_eq!(strays.count(), 0, "nothing of other views is left");
}

#[tokio::test]
async fn clearing_starts_anew_and_a_stream_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let first = applier_of(folder.path(), 1, Options::FOLLOWER).await;
    first.apply(SHARD, puts(5)).await.unwrap();
    let hash = first.position(SHARD).unwrap().hash;
    first.bind(SHARD, "a stream".to_owned()).await.unwrap();
    drop(first);
    let second = applier_of(folder.path(), 1, Options::FOLLOWER).await;
    assert_eq!(second.position(SHARD).unwrap().stream.as_deref(), Some("a stream"));
    assert_eq!(second.position(SHARD).unwrap().hash, hash);
    second.clear(SHARD).await.unwrap();
    assert_eq!(value(&second, "k1"), None);
    assert_eq!(*second.applied(SHARD).unwrap().borrow(), 0);
    second.apply(SHARD, puts(5)).await.unwrap();
    assert_eq!(second.position(SHARD).unwrap().hash, hash);
}
