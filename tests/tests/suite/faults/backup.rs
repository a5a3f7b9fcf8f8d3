//! What a node kept is lost, and comes back from a backup: on the node, and in a cluster that has nothing.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, program},
};
use tokio::process::Command;

use super::eventually;

/// Values that are written before the backup. Some are of the size that the store cuts.
const VALUES: usize = 20;

fn key(index: usize) -> String {
    format!("k{index}")
}

fn text(index: usize) -> String {
    json!("x".repeat(if index.is_multiple_of(5) { 70_000 } else { index })).to_string()
}

async fn put(node: &Node, space: &str, key: &str, value: &str) {
    let put = node.command(&["ctx", "put", space, key, value]).await.unwrap();
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
}

/// Writes in several spaces, so that several shards have something.
async fn fill(node: &Node) {
    for index in 0..VALUES {
        put(node, &format!("space-{}", index % 4), &key(index), &text(index)).await;
    }
}

async fn has_all(node: &Node) {
    for index in 0..VALUES {
        let (space, key) = (format!("space-{}", index % 4), key(index));
        let got = eventually("the value is there", async || {
            let got = node.command(&["ctx", "get", &space, &key]).await.unwrap();
            got.status.success().then_some(got.stdout)
        })
        .await;
        assert_eq!(String::from_utf8(got).unwrap().trim(), text(index), "{key}");
    }
}

/// The name of each shard with the last entry and the hash.
async fn shards(node: &Node) -> Vec<Value> {
    let status = node.command_json(&["status", "--json"]).await.unwrap();
    let of = |shard: &Value| json!([shard["name"], shard["applied"], shard["hash"]]);
    status["shards"].as_array().unwrap().iter().map(of).collect()
}

async fn backup(node: &Node, file: &Path) -> Value {
    node.command_json(&["backup", file.to_str().unwrap(), "--json"]).await.unwrap()
}

/// Runs `spanwire restore` as somebody would who has nothing but the file.
async fn restore(args: &[&str]) -> Output {
    let mut command = Command::new(program().unwrap());
    command.arg("restore").args(args).stdin(Stdio::null()).kill_on_drop(true).env_remove("SPANWIRE_CONFIG");
    command.output().await.unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_node_that_lost_its_store_comes_back_from_a_backup() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("node.backup");
    let mut node = Node::start("").await.unwrap();
    let id = node.id().to_owned();
    fill(&node).await;
    let made = backup(&node, &file).await;
    assert_eq!((made["node"].as_str(), made["shards"].as_array().unwrap().len()), (Some(id.as_str()), 5), "{made}");
    let before = shards(&node).await;
    let again = node.command(&["backup", file.to_str().unwrap()]).await.unwrap();
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));
    // Written after the backup: it is not in it.
    put(&node, "space-0", "later", "1").await;

    let (from, data) = (file.to_str().unwrap(), node.data());
    let refused = restore(&[from, "--data", data.to_str().unwrap()]).await;
    assert!(!refused.status.success() && said(&refused).contains("is there already"), "{}", said(&refused));
    node.stop().await.unwrap();
    std::fs::remove_dir_all(data.join("store")).unwrap();
    let broken = place.path().join("broken.backup");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() - 1]).unwrap();
    let refused = restore(&[broken.to_str().unwrap(), "--data", data.to_str().unwrap()]).await;
    assert!(!refused.status.success() && !data.join("store").exists(), "{}", said(&refused));
    let restored = restore(&[from, "--data", data.to_str().unwrap()]).await;
    assert!(restored.status.success(), "{}", said(&restored));

    node.restart().await.unwrap();
    assert_eq!(shards(&node).await, before);
    has_all(&node).await;
    let later = node.command(&["ctx", "get", "space-0", "later"]).await.unwrap();
    assert_eq!(later.status.code(), Some(4), "{}", said(&later));
    put(&node, "space-0", "later", "2").await;
}

#[tokio::test]
async fn a_cluster_begins_with_what_a_backup_holds() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("node.backup");
    let alone = Node::start("").await.unwrap();
    fill(&alone).await;
    backup(&alone, &file).await;
    let before = shards(&alone).await;
    drop(alone);

    let nats = NatsServer::start_jetstream().await.unwrap();
    let (from, url) = (file.to_str().unwrap(), nats.url());
    let restored = restore(&[from, "--nats", &url]).await;
    assert!(restored.status.success(), "{}", said(&restored));
    let again = restore(&[from, "--nats", &url]).await;
    assert!(!again.status.success() && said(&again).contains("is there already"), "{}", said(&again));

    let section = format!("[nats]\nurl = \"{url}\"\n");
    let (left, right) = (Node::start(&section).await.unwrap(), Node::start(&section).await.unwrap());
    for node in [&left, &right] {
        has_all(node).await;
    }
    put(&left, "space-1", "new", "1").await;
    let entries = |shards: &[Value]| shards.iter().map(|shard| shard[1].as_u64().unwrap()).sum::<u64>();
    assert!(entries(&shards(&left).await) > entries(&before), "it goes on where the backup ends");
}
