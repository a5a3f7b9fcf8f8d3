//! A shard that has as many spaces as it may have.

use std::sync::atomic::Ordering;

use futures::StreamExt;
use spanwire_model::{Entry, ErrorKind};
use uuid::Uuid;

use super::{
    delete,
    machine::{Shard, small},
    memory::Memory,
    now, options, put,
    service::{ann, contexts_with},
    space,
};
use crate::{
    Config, ContextMachine, Contexts, EXPIRY, EventKind, LogQuery, Options, Quotas, Transaction, command::Body, reads,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn names(shard: &Shard) -> Vec<String> {
    let found = reads::spaces(&shard.memory, "", None, 100, &|_| true).unwrap();
    found.into_iter().map(|info| info.name.to_string()).collect()
}

fn fill(shard: &mut Shard, name: &str) {
    shard.write(name, Transaction::one(put("a", "1"))).unwrap();
}

fn empty(shard: &mut Shard, name: &str) {
    fill(shard, name);
    shard.write(name, Transaction::one(delete("a"))).unwrap();
}

#[test]
fn the_space_that_is_empty_for_longest_makes_room() {
    let mut shard = Shard::new(Quotas { spaces: 3, ..small() });
    empty(&mut shard, "old");
    empty(&mut shard, "older");
    fill(&mut shard, "full");
    // It was written to later, and is empty again.
    empty(&mut shard, "old");
    let before = shard.memory.pairs.clone();
    let new = || Transaction::one(put("a", "1"));
    // Version 1 keeps its meaning, and its words, which nodes hash.
    let refusal = shard.write("new", new()).unwrap_err();
    let text = "spaces of the shard of \"new\", where one without keys counts until it is dropped: 4, the limit is 3";
    assert_eq!(refusal.text, text);
    assert_eq!(shard.memory.pairs, before);

    shard.version = 2;
    // Its log says who did what, for a day at least.
    shard.time_ms += DAY_MS - 1;
    let refusal = shard.write("new", new()).unwrap_err();
    let text = "spaces of the shard of \"new\", none of which has been without keys for 24 hours; drop one \
                that is not needed (that needs admin): 4, the limit is 3";
    assert_eq!((refusal.text.as_str(), &refusal.data.unwrap().to_value()["quota"]), (text, &"spaces".into()));
    assert_eq!(shard.memory.pairs, before);
    shard.time_ms += 1;
    shard.write("new", new()).unwrap();
    assert_eq!(names(&shard), ["full", "new", "old"]);
    let sequence = shard.sequence;
    // Whoever follows it is told, and does not begin anew.
    assert_eq!(shard.log(&space("older")), [(sequence, EventKind::Drop, None, None)]);
    assert_eq!(shard.first("older"), 5);
    shard.write("newer", new()).unwrap();
    assert_eq!(names(&shard), ["full", "new", "newer"]);
    let before = shard.memory.pairs.clone();
    let refusal = shard.write("newest", new()).unwrap_err();
    assert!(refusal.text.contains("none of which has been without keys"), "{}", refusal.text);
    assert_eq!(shard.memory.pairs, before);
    // What is there is written to, full or not, and nobody has to go for it.
    shard.write("new", Transaction::one(delete("a"))).unwrap();
    shard.write("new", new()).unwrap();
    assert_eq!(names(&shard), ["full", "new", "newer"]);
    let record = reads::shard_record(&shard.memory).unwrap();
    assert_eq!((record.spaces, record.dropped), (3, 2));
}

#[test]
fn whoever_wants_room_is_not_named_in_the_log_of_the_space_that_goes() {
    let mut shard = Shard::new(Quotas { spaces: 1, ..small() });
    empty(&mut shard, "old");
    (shard.version, shard.time_ms) = (2, shard.time_ms + DAY_MS);
    fill(&mut shard, "new");
    let page = reads::log(&shard.memory, &space("old"), &LogQuery::default(), &|_| true).unwrap();
    let [event] = page.events.as_slice() else { panic!("{:?}", page.events) };
    let writer = &event.writer;
    assert_eq!((event.kind, &*writer.principal, writer.node.as_str()), (EventKind::Drop, EXPIRY, "left"));
    assert_eq!((&writer.call, &writer.trace, &writer.span), (&None, &None, &None));
    // Whoever drops by hand is named.
    shard.drop("new");
    let page = reads::log(&shard.memory, &space("new"), &LogQuery::default(), &|_| true).unwrap();
    assert_eq!(&*page.events[0].writer.principal, "ann");
}

#[test]
fn a_limit_that_was_lowered_lets_one_in_for_one_that_goes() {
    let mut shard = Shard::new(Quotas { spaces: 9, ..small() });
    for name in ["a", "b", "c"] {
        empty(&mut shard, name);
    }
    fill(&mut shard, "full");
    shard.quotas.spaces = 2;
    (shard.version, shard.time_ms) = (2, shard.time_ms + DAY_MS);
    fill(&mut shard, "new");
    assert_eq!(names(&shard), ["b", "c", "full", "new"]);
    assert_eq!(reads::shard_record(&shard.memory).unwrap().spaces, 4);
    fill(&mut shard, "newer");
    fill(&mut shard, "newest");
    let refusal = shard.write("more", Transaction::one(put("a", "1"))).unwrap_err();
    assert!(refusal.text.ends_with(": 5, the limit is 2"), "{}", refusal.text);
    assert_eq!(names(&shard), ["full", "new", "newer", "newest"]);
}

#[test]
fn a_space_that_nobody_knows_the_age_of_stays() {
    // No log, no time.
    let mut shard = Shard::new(Quotas { spaces: 1, log_events: 0, ..small() });
    empty(&mut shard, "old");
    (shard.version, shard.time_ms) = (2, shard.time_ms + DAY_MS);
    let refusal = shard.write("new", Transaction::one(put("a", "1"))).unwrap_err();
    assert_eq!(refusal.reason, spanwire_model::RefusalReason::Quota);
    assert_eq!(names(&shard), ["old"]);
}

#[test]
fn a_space_that_comes_back_is_not_forgotten_by_the_one_that_goes() {
    let mut shard = Shard::new(Quotas { spaces: 1, ..Quotas::default() });
    for number in 0..1000 {
        fill(&mut shard, &format!("s{number}"));
        shard.drop(&format!("s{number}"));
    }
    empty(&mut shard, "empty");
    shard.version = 2;
    shard.time_ms += DAY_MS;
    // The oldest of the drops that are known, and one more would be too many.
    fill(&mut shard, "s0");
    assert_eq!(names(&shard), ["s0"]);
    let kinds: Vec<_> = shard.log(&space("s0")).into_iter().map(|event| event.1).collect();
    assert_eq!(kinds, [EventKind::Drop, EventKind::Put]);
    let record = reads::shard_record(&shard.memory).unwrap();
    assert_eq!((record.spaces, record.dropped, shard.memory.count("t/"), record.floor), (1, 1000, 1000, 0));
}

#[test]
fn who_makes_room_is_the_same_on_every_node() {
    let mut shard = Shard::new(Quotas { spaces: 4, ..small() });
    let mut entries: Vec<Entry> = Vec::new();
    for step in 0_u64..200 {
        shard.version = if step % 3 == 0 { 2 } else { 1 };
        shard.time_ms += DAY_MS / 8;
        let operation = if step % 5 < 3 { put("a", "1") } else { delete("a") };
        let name = space(&format!("s{}", step * step % 11));
        let body = Body::Write { space: name, transaction: Transaction::one(operation), quotas: shard.quotas };
        let entry = shard.entry(&body);
        let _ = shard.memory.apply(&ContextMachine, &entry);
        entries.push(entry);
        assert!(names(&shard).len() <= 4);
        assert_eq!(reads::shard_record(&shard.memory).unwrap().spaces, names(&shard).len() as u64);
    }
    let mut again = Memory::default();
    for entry in &entries {
        let _ = again.apply(&ContextMachine, entry);
    }
    assert_eq!(again.pairs, shard.memory.pairs);
}

#[tokio::test]
async fn a_write_asks_for_room_only_when_there_is_none() {
    let quotas = Quotas { spaces: 1, ..Quotas::default() };
    let (contexts, ledger, _) = contexts_with(|config| Config { quotas, ..config });
    let ann = ann(&contexts);
    // Of one shard.
    let (one, other) = (space("a"), space("team.notes"));
    let shard = Contexts::shard_of(&one);
    assert_eq!(Contexts::shard_of(&other), shard);
    let write = |name: &crate::SpaceName, operation| {
        let (ann, name) = (ann.clone(), name.clone());
        async move { ann.write(&name, Transaction::one(operation), options()).await }
    };
    write(&one, put("k", "1")).await.unwrap();
    let refused = write(&other, put("k", "1")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::QuotaExceeded);
    assert!(refused.public.contains("none of which has been without keys"), "{}", refused.public);
    let mut watch = ann.watch(&one, "", None, false);
    write(&one, delete("k")).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().kind, EventKind::Delete);
    let refused = write(&other, put("k", "1")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::QuotaExceeded, "{}", refused.public);
    ledger.ahead_ms.store(DAY_MS, Ordering::SeqCst);
    let again = Options { operation: Some(Uuid::from_u128(9)), ..options() };
    let written = ann.write(&other, Transaction::one(put("k", "1")), again).await.unwrap();
    let versions: Vec<u16> = ledger.entries(shard).iter().map(|entry| entry.command.version).collect();
    assert_eq!(versions, [1, 1, 2, 1, 1, 2, 1, 2]);
    let told = watch.next().await.unwrap().unwrap();
    assert_eq!((told.kind, &*told.writer.principal, told.sequence), (EventKind::Drop, EXPIRY, written.sequence));
    // Repeated, it is found to be done.
    assert_eq!(ann.write(&other, Transaction::one(put("k", "1")), again).await.unwrap(), written);
    assert_eq!(ledger.entries(shard).len(), 8);
    assert!(ann.describe(&one, now()).await.unwrap().value.is_none());
}
