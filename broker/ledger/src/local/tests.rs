#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tempfile::TempDir;

use super::*;
use crate::{
    contract::{self, Factory, contract, soon},
    testing::{command, machines, open, put},
};

struct Local {
    folder: TempDir,
    telemetry: Telemetry,
}

impl Factory for Local {
    type Ledger = LocalLedger;
    const CASES: u32 = 24;

    async fn make() -> Self {
        let telemetry = Telemetry::disabled("left".parse().unwrap());
        Self { folder: tempfile::tempdir().unwrap(), telemetry }
    }

    async fn open(&self, version: u16) -> LocalLedger {
        let options = Options { operations_kept: contract::OPERATIONS, ..Options::ALONE };
        let limits = Limits { options, entries_kept: 100 };
        let store = open(self.folder.path()).await;
        LocalLedger::open_with(store, machines(version), self.telemetry.clone(), limits).await.unwrap()
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

contract!(Local);

#[tokio::test]
async fn the_log_keeps_the_newest_entries_and_its_chain_holds() {
    let place = Local::make().await;
    let ledger = place.open(1).await;
    for operation in 1..=250 {
        contract::append(&ledger, command(operation, &put("k", &operation.to_string()))).await;
    }
    let status = contract::status(&ledger, Shard::REGISTRY);
    assert_eq!((status.first, status.last), (151, 250));
    let tree = ledger.applier.store().tree().clone();
    let kept: Vec<u64> = kept::entries(&tree, Shard::REGISTRY, 0).map(|kept| kept.unwrap().logged.sequence).collect();
    assert_eq!(kept, Vec::from_iter(151..=250));
    ledger.verify().await.unwrap();
    assert_eq!(contract::status(&ledger, Shard::REGISTRY).state, ShardState::Following);
    // Somebody changes an entry.
    let entry = kept::entries(&tree, Shard::REGISTRY, 199).next().unwrap().unwrap();
    let cells = crate::cells::Cells::new(&tree, crate::shard::log_prefix(Shard::REGISTRY));
    let mut value = cells.get(&entry.logged.sequence.to_be_bytes()).unwrap().unwrap();
    *value.last_mut().unwrap() = b' ';
    let mut writes = Vec::new();
    cells.change(&entry.logged.sequence.to_be_bytes(), Some(&value), &mut writes).unwrap();
    ledger.applier.store().write(writes, true).await.unwrap();
    drop((ledger, tree, cells));
    let ledger = place.open(1).await;
    let status = contract::status(&ledger, Shard::REGISTRY);
    assert_eq!(status.state, ShardState::Stopped);
    assert!(status.detail.unwrap().contains("the hash of entry 200"));
}

#[tokio::test]
async fn a_log_that_another_kept_begins_after_the_view() {
    let place = Local::make().await;
    let store = open(place.folder.path()).await;
    let follower = Applier::open(store.clone(), &machines(1), Options::FOLLOWER).await.unwrap();
    let entries = (1..=5).map(|sequence| crate::testing::logged(sequence, &put("k", "v"))).collect();
    follower.apply(Shard::REGISTRY, entries).await.unwrap();
    drop((store, follower));
    let ledger = place.open(1).await;
    assert_eq!(contract::append(&ledger, command(100, &put("k", "w"))).await.sequence, 6);
    drop(ledger);
    let ledger = place.open(1).await;
    let status = contract::status(&ledger, Shard::REGISTRY);
    assert_eq!((status.state, status.first, status.last), (ShardState::Following, 6, 6));
}

#[tokio::test]
async fn readers_do_not_see_what_a_crash_could_take_back() {
    let place = Local::make().await;
    let ledger = place.open(1).await;
    contract::append(&ledger, command(1, &put("k", "durable"))).await;
    let cell = ledger.applier.cell(Shard::REGISTRY).unwrap().clone();
    let (reply, done) = oneshot::channel();
    // An entry that is applied and not flushed yet.
    let job = move |tree: &Tree| {
        let payload = crate::wire::Message::of(command(2, &put("k", "not yet"))).encode();
        let entry = Logged { sequence: 2, time_ms: 0, payload };
        let step = step::step(&cell, &entry, 40).unwrap().unwrap();
        cell.commit(tree, step, Vec::new(), true).unwrap();
        let _ = reply.send(());
        Done { flush: false, then: Box::new(|_| {}) }
    };
    ledger.applier.store().submit(Box::new(job)).await.unwrap();
    done.await.unwrap();
    assert_eq!(contract::value(&ledger, "k").as_deref(), Some("durable"));
    assert_eq!(ledger.applier.outcome(Shard::REGISTRY, Uuid::from_u128(2)).unwrap(), None);
    ledger.applier.cell(Shard::REGISTRY).unwrap().publish();
    assert_eq!(contract::value(&ledger, "k").as_deref(), Some("not yet"));
}

#[tokio::test]
async fn a_panic_of_the_machine_stops_its_shard_until_the_next_start() {
    let place = Local::make().await;
    let ledger = place.open(1).await;
    let error = ledger.append(Shard::REGISTRY, command(1, r#"{"do":"panic"}"#), soon()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let refused = ledger.append(Shard::REGISTRY, command(2, &put("k", "v")), soon()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    let waiting = ledger.reach(Shard::REGISTRY, ReadLevel::AtLeast(1), soon()).await.unwrap_err();
    assert_eq!(waiting.kind, ErrorKind::Unavailable, "nobody waits for what does not come");
    drop(ledger);
    let ledger = place.open(1).await;
    assert_eq!(contract::append(&ledger, command(2, &put("k", "v"))).await.sequence, 1, "it was not in the log");
}
