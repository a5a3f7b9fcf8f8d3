//! A log that is followed although no consumer brings its entries.

use std::time::Duration;

use spanwire_model::ShardState;
use tokio::time::Instant;

use super::{
    harness::{Recipe, SHARD, until},
    server::{Proxy, Server},
};
use crate::testing::put;

/// A server whose user `node` is everybody, and may do everything but make consumers.
const NO_CONSUMERS: &str = r#"
jetstream { store_dir: "FOLDER/jetstream" }
no_auth_user: node
authorization { users: [
    { user: node, password: secret, permissions: { publish: { deny: ["$JS.API.CONSUMER.CREATE.>"] } } }
] }
"#;

#[tokio::test]
async fn entries_arrive_without_any_consumer() {
    let server = Server::start_configured(NO_CONSUMERS).await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(server.url()).node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    for operation in 1..=20 {
        let receipt = node.append(operation, &put("a", &operation.to_string())).await.unwrap();
        assert_eq!(u128::from(receipt.sequence), operation);
    }
    assert_eq!(node.value("a").as_deref(), Some("20"));
    node.ledger.close().await;
}

/// Less than the minute after which the server forgets consumers by itself.
const SOON: Duration = Duration::from_secs(30);

/// Waits until the server has so many consumers of the log.
async fn consumers(server: &Server, wanted: usize) {
    let client = async_nats::connect(server.url()).await.unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let mut stream = async_nats::jetstream::new(client.clone()).get_stream("SW_default_REGISTRY_0").await.unwrap();
        let found = stream.info().await.unwrap().state.consumer_count;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{found} consumers, and not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_feed_that_is_thrown_away_leaves_no_consumer_behind() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(proxy.url()).node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    let log = node.ledger.inner.log(SHARD).unwrap().clone();
    let opened = || log.feeds.load(std::sync::atomic::Ordering::Acquire);
    for round in 1..=6 {
        // So that it is no feed in vain.
        node.append(round, &put("a", "b")).await.unwrap();
        let before = opened();
        if round % 2 == 0 {
            log.look_again.notify_one();
        } else {
            proxy.cut();
            node.is(ShardState::CutOff).await;
            proxy.mend();
        }
        until("there is another feed", || (opened() > before).then_some(()).ok_or(before)).await;
        node.is(ShardState::Following).await;
    }
    consumers(&server, 1).await;
    node.close().await;
    consumers(&server, 0).await;
}
