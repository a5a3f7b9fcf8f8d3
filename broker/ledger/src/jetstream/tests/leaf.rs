//! Nodes behind a leaf node: the streams are at the hub, in a JetStream domain.

use spanwire_model::{ShardState, Tenant};

use super::{
    harness::{PATIENCE, Recipe, SHARD, small},
    server::{Server, free_address},
};
use crate::{JetStreamOptions, jetstream::streams::Streams, testing::put};

/// A hub with JetStream, and a leaf node of it which has none and says that it is of a cluster.
async fn hub_and_leaf() -> (Server, Server) {
    let leaves = free_address();
    let hub = format!(
        "server_name: hub\njetstream {{ store_dir: \"FOLDER/js\", domain: hub }}\nleafnodes {{ listen: \"{leaves}\" }}\n"
    );
    let hub = Server::start_configured(&hub).await;
    let leaf = format!(
        "server_name: leaf\ncluster {{ name: edge, listen: \"127.0.0.1:-1\" }}\n\
         leafnodes {{ remotes: [ {{ url: \"nats://{leaves}\" }} ] }}\n"
    );
    (hub, Server::start_configured(&leaf).await)
}

fn in_hub(options: JetStreamOptions) -> JetStreamOptions {
    JetStreamOptions { domain: Some("hub".to_owned()), ..small(options) }
}

#[tokio::test]
async fn the_number_of_replicas_is_what_the_hub_can_do() {
    let (_hub, leaf) = hub_and_leaf().await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe { options: in_hub, ..Recipe::new(leaf.url()) }.node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    let clustered = node.client.server_info().cluster.is_some();
    assert!(clustered, "the leaf node does not look like a cluster");
    // Enough for a snapshot, whose bucket has to be made as well.
    node.fill(1..50).await;
    let status = node.status();
    assert_eq!((status.state, status.replicas, status.detail), (ShardState::Following, 1, None));
    let streams: Streams = node.streams().in_domain(Some("hub"));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while streams.facts_of_bucket().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "no bucket");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!streams.facts(SHARD).await.unwrap().clustered);
    node.ledger.close().await;
}

#[tokio::test]
async fn a_cluster_is_restored_from_behind_a_leaf_node() {
    let (hub, leaf) = hub_and_leaf().await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = Server::start().await;
    let old = Recipe::new(elsewhere.url()).node("old", one.path()).await;
    old.is(ShardState::Following).await;
    old.fill(1..20).await;
    let mut snapshots = Vec::new();
    for shard in spanwire_model::Shard::all() {
        let path = one.path().join(shard.to_string());
        let (header, _) =
            old.ledger.inner.applier.snapshot(shard, std::fs::File::create(&path).unwrap()).await.unwrap();
        snapshots.push((shard, header.sequence, path));
    }
    let far = Recipe { options: in_hub, ..Recipe::new(leaf.url()) };
    let client = async_nats::connect(leaf.url()).await.unwrap();
    // The leaf node may not be connected to the hub yet.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let domain = Some("hub");
        let tenant = Tenant::default();
        match crate::restore_into_streams(client.clone(), tenant, "sw.v1", domain, None, &snapshots).await {
            Ok(()) => break,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let near = async_nats::connect(hub.url()).await.unwrap();
    let stream = async_nats::jetstream::new(near).get_stream("SW_default_REGISTRY_0").await.unwrap();
    assert_eq!(stream.cached_info().state.first_sequence, 20, "it is at the hub");
    let new = far.node("new", two.path()).await;
    new.agrees_with(&old).await;
    new.is(ShardState::Following).await;
    assert_eq!(new.append(100, &put("a", "b")).await.unwrap().sequence, 20);
}
