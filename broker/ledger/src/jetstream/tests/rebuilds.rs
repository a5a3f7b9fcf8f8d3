//! Views that are behind their log, or not of it.

use spanwire_model::{ErrorKind, Shard, ShardState, Tenant};

use super::{
    harness::{Node, PATIENCE, Recipe, SHARD, node, small, until},
    server::Server,
};
use crate::{
    jetstream::bucket::Bucket,
    testing::{command, put},
};

/// Appends until the log begins behind the entry: what the older of two snapshots does not have stays.
async fn compact(node: &Node, beyond: u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for operation in 1_000_000.. {
        if node.status().first > beyond {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "never compacted: {:?}", node.status());
        node.append(operation, &put("more", "x")).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn delete_consumers(node: &Node) {
    let stream = node.streams().handle(SHARD).await.unwrap();
    let names: Vec<_> = futures::StreamExt::collect::<Vec<_>>(stream.consumer_names()).await;
    for name in names {
        stream.delete_consumer(&name.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_consumer_that_is_deleted_under_the_node_is_made_again() {
    let server = Server::start().await;
    let (node, _folder) = node(&Recipe::new(server.url()), "left").await;
    for operation in 1..=5 {
        node.append(operation, &put("a", "b")).await.unwrap();
        delete_consumers(&node).await;
        node.append(operation + 100, &put("a", "c")).await.unwrap();
        until("it follows", || {
            let status = node.status();
            (status.state == ShardState::Following).then_some(()).ok_or(status)
        })
        .await;
    }
    assert_eq!((node.status().applied, node.rebuilds()), (10, 0));
}

#[tokio::test]
async fn a_node_that_was_away_longer_than_the_log_reaches_installs_a_snapshot() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let (left, _one) = node(&recipe, "left").await;
    let (right, two) = node(&recipe, "right").await;
    left.fill(1..5).await;
    right.agrees_with(&left).await;
    right.close().await;
    left.fill(5..60).await;
    compact(&left, 60).await;
    let receipt = left.append(7, "{}").await.unwrap();
    let right = recipe.node("right", two.path()).await;
    right.agrees_with(&left).await;
    assert_eq!(right.value("k30").as_deref(), Some("x"));
    assert_eq!(right.rebuilds(), 0);
    // Operations came with the snapshot.
    right.is(ShardState::Following).await;
    assert_eq!(right.append(7, "{}").await.unwrap(), receipt);
    // A node that has nothing, too.
    let (third, _three) = node(&recipe, "third").await;
    third.agrees_with(&left).await;
    let bucket = Bucket::open(&left.streams()).await.unwrap().unwrap();
    assert!(bucket.sequences(SHARD).await.unwrap().len() <= 2);
}

#[tokio::test]
async fn a_node_whose_folder_was_rolled_back_catches_up() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (left, _one) = node(&recipe, "left").await;
    let (right, two) = node(&recipe, "right").await;
    left.fill(1..10).await;
    right.agrees_with(&left).await;
    right.close().await;
    let copy = tempfile::tempdir().unwrap();
    copy_folder(two.path(), copy.path());
    let right = recipe.node("right", two.path()).await;
    left.fill(10..20).await;
    right.agrees_with(&left).await;
    right.close().await;
    let right = recipe.node("right", copy.path()).await;
    right.agrees_with(&left).await;
    assert_eq!(right.value("k15").as_deref(), Some("x"));
    assert_eq!(right.rebuilds(), 0);
}

#[tokio::test]
async fn a_stream_that_was_deleted_goes_on_from_what_the_nodes_have() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (left, _one) = node(&recipe, "left").await;
    let (right, _two) = node(&recipe, "right").await;
    left.fill(1..10).await;
    right.agrees_with(&left).await;
    async_nats::jetstream::new(left.client.clone()).delete_stream("SW_default_REGISTRY_0").await.unwrap();
    until("there is another stream", || {
        let status = left.status();
        (status.first == 10 && status.state == ShardState::Following).then_some(()).ok_or(status)
    })
    .await;
    left.append(100, &put("a", "b")).await.unwrap();
    right.agrees_with(&left).await;
    assert_eq!((right.value("k5").as_deref(), right.value("a").as_deref()), (Some("x"), Some("b")));
    assert_eq!(right.status().applied, 10);
}

#[tokio::test]
async fn a_stream_of_another_history_makes_the_view_anew_and_says_so() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (left, one) = node(&recipe, "left").await;
    left.fill(1..10).await;
    left.close().await;
    // Somebody deletes the stream and makes one with another history.
    let other = Server::start().await;
    let elsewhere = Recipe::new(other.url());
    let (stranger, _two) = node(&elsewhere, "stranger").await;
    stranger.fill(100..103).await;
    let left = elsewhere.node("left", one.path()).await;
    left.agrees_with(&stranger).await;
    assert_eq!((left.value("k5"), left.value("k101").as_deref()), (None, Some("x")));
    assert_eq!(left.rebuilds(), 1);
    let kept = std::fs::read(one.path().join("ledger/quarantine-registry.0.snapshot")).unwrap();
    assert!(kept.starts_with(b"spanwire snapshot"));
}

#[tokio::test]
async fn a_log_that_lost_its_acknowledged_end_is_found_out() {
    let mut server = Server::start().await;
    let (left, one) = node(&Recipe::new(server.url()), "left").await;
    left.fill(1..10).await;
    server.kill();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&server.store(), copy.path());
    server.run().await;
    left.is(ShardState::Following).await;
    left.fill(10..15).await;
    left.close().await;
    // The server comes back with an older copy of its folder.
    server.kill();
    std::fs::remove_dir_all(server.store()).unwrap();
    copy_folder(copy.path(), &server.store());
    server.run().await;
    let left = Recipe::new(server.url()).node("left", one.path()).await;
    left.is(ShardState::Following).await;
    until("it has what the log has", || {
        let status = left.status();
        (status.applied == 9).then_some(()).ok_or(status)
    })
    .await;
    assert_eq!((left.value("k9").as_deref(), left.value("k12")), (Some("x"), None));
    assert_eq!(left.rebuilds(), 1);
}

#[tokio::test]
async fn a_view_that_was_damaged_is_found_by_a_checkpoint_and_made_anew() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let (left, _one) = node(&recipe, "left").await;
    let (right, _two) = node(&recipe, "right").await;
    left.append(1, r#"{"do":"count","key":"n"}"#).await.unwrap();
    right.agrees_with(&left).await;
    right.damage("n", "41").await;
    for operation in 2..=40 {
        left.append(operation, r#"{"do":"count","key":"n"}"#).await.unwrap();
    }
    until("the damage is found", || (right.rebuilds() == 1).then_some(()).ok_or(right.status())).await;
    right.agrees_with(&left).await;
    assert_eq!(right.value("n").as_deref(), Some("40"));
    right.is(ShardState::Following).await;
    assert_eq!(left.rebuilds(), 0);
}

#[tokio::test]
async fn a_snapshot_of_entries_that_the_log_has_lost_keeps_nobody_from_compacting_it() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let (left, folder) = node(&recipe, "left").await;
    left.fill(1..5).await;
    let lost = folder.path().join("lost");
    let file = std::fs::File::create(&lost).unwrap();
    left.ledger.inner.applier.snapshot(SHARD, file).await.unwrap();
    let bucket = Bucket::open_or_create(&left.streams()).await.unwrap();
    bucket.put(SHARD, 1_000, &lost).await.unwrap();
    left.close().await;
    // What a process that was killed has left.
    let scratch = folder.path().join("ledger/registry.0.upload.1.scratch");
    std::fs::write(&scratch, "half").unwrap();
    // Whoever tends the logs from now on finds it.
    let left = recipe.node("left", folder.path()).await;
    left.is(ShardState::Following).await;
    assert!(!scratch.exists());
    compact(&left, 20).await;
    assert!(left.status().applied < 1_000, "{:?}", left.status());
    assert!(!bucket.sequences(SHARD).await.unwrap().contains(&1_000));
}

#[tokio::test]
async fn large_entries_do_not_fill_a_log_that_is_compacted() {
    let server = Server::start().await;
    let options =
        |options| crate::JetStreamOptions { snapshot_bytes: 2 * 1024 * 1024, log_bytes: 16 * 1024 * 1024, ..options };
    let (node, _folder) = node(&Recipe { options, ..Recipe::new(server.url()) }, "left").await;
    let large = put("a", &"x".repeat(800 * 1024));
    for operation in 1..=40 {
        let began = tokio::time::Instant::now();
        while let Err(error) = node.append(operation, &large).await {
            // Full for the moment: the snapshot is on its way.
            assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
            assert!(began.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert_eq!(node.status().state, ShardState::Following);
}

#[tokio::test]
async fn a_newer_command_stops_the_shard_and_says_so() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let newer = Recipe { version: 2, leases: recipe.leases.clone(), ..Recipe::new(server.url()) };
    let (old, folder) = node(&recipe, "old").await;
    let (new, _two) = node(&newer, "new").await;
    let mut command = command(1, &put("a", "b"));
    command.version = 2;
    new.append_command(command).await.unwrap();
    old.is(ShardState::Stopped).await;
    let detail = old.status().detail.unwrap();
    assert!(detail.contains("upgrade"), "{detail}");
    assert_eq!(old.status().applied, 0);
    old.close().await;
    // The upgrade.
    let old = newer.node("old", folder.path()).await;
    old.agrees_with(&new).await;
}

#[tokio::test]
async fn a_cluster_is_restored_from_snapshots_and_goes_on_behind_them() {
    let server = Server::start().await;
    let (old, folder) = node(&Recipe::new(server.url()), "old").await;
    old.fill(1..30).await;
    let receipt = old.append(3, "{}").await.unwrap();
    let mut snapshots = Vec::new();
    for shard in Shard::all() {
        let path = folder.path().join(shard.to_string());
        let file = std::fs::File::create(&path).unwrap();
        let (header, _) = old.ledger.inner.applier.snapshot(shard, file).await.unwrap();
        snapshots.push((shard, header.sequence, path));
    }
    let other = Server::start().await;
    let client = async_nats::connect(other.url()).await.unwrap();
    let restore =
        async || crate::restore_into_streams(client.clone(), Tenant::default(), "sw.v1", None, None, &snapshots).await;
    restore().await.unwrap();
    assert_eq!(restore().await.unwrap_err().kind, ErrorKind::Conflict);
    let (new, _two) = node(&Recipe::new(other.url()), "new").await;
    assert_eq!((new.status().applied, new.status().first, new.rebuilds()), (29, 30, 0));
    assert_eq!(new.status().hash, old.status().hash);
    assert_eq!(new.append(3, "{}").await.unwrap(), receipt);
    assert_eq!(new.append(100, &put("a", "b")).await.unwrap().sequence, 30);
}

/// Copies a folder that nobody writes to.
fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
