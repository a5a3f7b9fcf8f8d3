#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use spanwire_model::Store;
use spanwire_telemetry::Telemetry;
use tempfile::TempDir;

use super::*;
use crate::{
    LocalLedger,
    contract::{append_to, look, status},
    testing::{command, machines, open, put},
};

fn node() -> NodeId {
    "left".parse().unwrap()
}

async fn ledger(folder: &Path) -> (LocalLedger, SledStore) {
    let store = open(folder).await;
    let ledger = LocalLedger::open(store.clone(), machines(1), Telemetry::disabled(node())).await.unwrap();
    (ledger, store)
}

/// A node with something in every shard.
async fn filled() -> (TempDir, LocalLedger, SledStore) {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, store) = ledger(folder.path()).await;
    for operation in 0..40_u128 {
        for shard in Shard::all() {
            let body = put(&format!("k{}", operation % 9), &format!("{shard} {operation}"));
            append_to(&ledger, shard, command(operation, &body)).await.unwrap().outcome.unwrap();
        }
    }
    let large = r#"{"do":"fill","key":"large","bytes":300000}"#;
    append_to(&ledger, Shard::REGISTRY, command(100, large)).await.unwrap();
    let own = |index: u32| spanwire_model::Write::Put { key: format!("era/{index:04}").into(), value: vec![7; 100] };
    store.apply((0..600).map(own).collect()).await.unwrap();
    (folder, ledger, store)
}

#[tokio::test]
async fn what_is_backed_up_comes_back_and_goes_on() {
    let (_folder, source, _store) = filled().await;
    let mut stream = source.backups(node()).stream();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.recv().await {
        bytes.extend(piece.unwrap());
    }
    let found = inspect(Cursor::new(&bytes)).unwrap();
    let shards: Vec<(Shard, u64)> =
        Shard::all().map(|shard| (shard, if shard == Shard::REGISTRY { 41 } else { 40 })).collect();
    assert_eq!(found, Backup { node: node(), own: 600, shards: shards.clone() });

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("backup");
    std::fs::write(&file, &bytes).unwrap();
    let folder = place.path().join("store");
    assert_eq!(restore(&file, &folder, &machines(1)).await.unwrap(), found);
    assert!(matches!(restore(&file, &folder, &machines(1)).await, Err(BackupError::NotEmpty(_))));
    // Nobody has it open: it opens at once.
    drop(SledStore::open(&folder).unwrap());
    let (restored, store) = ledger(&folder).await;
    for shard in Shard::all() {
        let (mine, theirs) = (status(&source, shard), status(&restored, shard));
        assert_eq!((mine.applied, mine.hash, mine.state), (theirs.applied, theirs.hash, theirs.state));
        let all = |ledger: &LocalLedger| look(ledger, shard, |view| view.scan(b"", None, 1000).unwrap()).0;
        assert_eq!(all(&source), all(&restored));
        // An operation of before is known, and the next entry is the next.
        let again = append_to(&restored, shard, command(39, "{}")).await.unwrap();
        assert_eq!(again.sequence, 40);
        let next = append_to(&restored, shard, command(200, &put("new", "x"))).await.unwrap();
        assert_eq!(next.sequence, theirs.applied + 1);
    }
    assert_eq!(store.scan(b"era/").unwrap().len(), 600);

    let parts = split(Cursor::new(&bytes), place.path()).unwrap();
    assert_eq!(parts.iter().map(|(shard, last, _)| (*shard, *last)).collect::<Vec<_>>(), shards);
    let (_, whole) = source.applier().snapshot(Shard::REGISTRY, Vec::new()).await.unwrap();
    assert_eq!(std::fs::read(&parts[0].2).unwrap(), whole);
}

#[tokio::test]
async fn what_is_not_whole_is_not_restored_and_leaves_nothing() {
    let (_folder, source, _store) = filled().await;
    let bytes = source.backups(node()).write(Vec::new()).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let (file, folder) = (place.path().join("backup"), place.path().join("store"));
    let mut broken: Vec<Vec<u8>> = vec![Vec::new(), b"something else".to_vec()];
    for at in (0..bytes.len()).step_by(bytes.len() / 40).chain([bytes.len() - 1]) {
        broken.push(bytes[..at].to_vec());
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        broken.push(changed);
    }
    broken.push([bytes.as_slice(), b"x"].concat());
    for bytes in broken {
        assert!(inspect(Cursor::new(&bytes)).is_err(), "{} bytes", bytes.len());
        std::fs::write(&file, &bytes).unwrap();
        assert!(restore(&file, &folder, &machines(1)).await.is_err(), "{} bytes", bytes.len());
    }
    // One of a newer program.
    let newer = spanwire_model::Command { version: 2, ..command(300, &put("k", "v")) };
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path()).await;
    let telemetry = Telemetry::disabled(node());
    let new = LocalLedger::open(store, machines(2), telemetry).await.unwrap();
    append_to(&new, Shard::REGISTRY, newer).await.unwrap();
    std::fs::write(&file, new.backups(node()).write(Vec::new()).await.unwrap()).unwrap();
    let error = restore(&file, &folder, &machines(1)).await.unwrap_err();
    assert!(error.to_string().contains("commands of version 2"), "{error}");
    let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["backup"]);
    assert!(restore(&file, &folder, &machines(2)).await.is_ok());
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_backup() {
    let (_folder, source, store) = filled().await;
    drop(source.backups(node()).stream());
    drop(source);
    // Nothing holds the store any more, so this comes to an end.
    tokio::time::timeout(std::time::Duration::from_secs(60), store.close()).await.unwrap();
}
