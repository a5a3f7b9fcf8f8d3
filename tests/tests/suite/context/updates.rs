//! Clients that follow a resource on one node, while the node that wrote it dies and their own is cut off.

use serde_json::{Value, json};
use spanwire_mcp::Revision;
use spanwire_rpc::v1::{ServerState, ShardState, StatusRequest};
use spanwire_tests::{
    nats::{NatsServer, Proxy},
    node::{Node, START_TIMEOUT},
    scripted::{Client, Got},
};
use tokio::time::{Instant, sleep};

use super::{
    hand::Hand,
    mcp::{open, result, subscribe},
    world::LOOK_EVERY,
};

const URI: &str = "context+ctx://s/k";

/// Until the client was told so often; then the value as it reads it.
async fn told(client: &Client, times: usize) -> Value {
    let updates = |got: &[Got]| {
        let updates = got.iter().filter(|got| got.message["method"] == "notifications/resources/updated");
        (updates.filter(|got| got.message["params"]["uri"] == URI).count() >= times).then_some(())
    };
    client.wait("an update", updates).await.unwrap();
    let read = result(client, "resources/read", json!({ "uri": URI })).await;
    serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap()
}

async fn is_cut_off(node: &Node) {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let status = node.broker().await.unwrap().status(StatusRequest {}).await.unwrap().into_inner();
        if status.shards.iter().all(|shard| shard.state() == ShardState::CutOff) {
            return;
        }
        assert!(Instant::now() < deadline, "{:#?}", status.shards);
        sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_go_on_when_the_writer_died_and_the_line_was_cut() {
    let nats = NatsServer::start_jetstream().await.unwrap();
    let line = Proxy::start(nats.address()).await.unwrap();
    let config = |url: String| format!("[nats]\nurl = \"{url}\"\n");
    let (direct, through) = (config(nats.url()), config(line.url()));
    let (writer, watcher, other) = tokio::join!(
        Node::start_as("writer", &direct),
        Node::start_as("watcher", &through),
        Node::start_as("other", &direct)
    );
    let (mut writer, watcher, other) = (writer.unwrap(), watcher.unwrap(), other.unwrap());
    for node in [&writer, &watcher, &other] {
        node.wait_following().await.unwrap();
    }
    watcher.wait_servers(&["context"], ServerState::Ready).await.unwrap();
    let mut clients = Vec::new();
    for revision in [Revision::V2026_07_28, Revision::V2025_11_25] {
        let client = open(&watcher, revision).await;
        subscribe(&client, URI).await;
        clients.push(client);
    }

    Hand::new(&writer, "s").await.put("k", &json!(1)).await;
    for client in &clients {
        assert_eq!(told(client, 1).await, json!(1));
    }
    writer.kill().await.unwrap();
    line.cut();
    is_cut_off(&watcher).await;
    let mut hand = Hand::new(&other, "s").await;
    hand.put("k", &json!(2)).await;
    line.mend();
    // Nobody has asked again: what was written meanwhile is told.
    for client in &clients {
        assert_eq!(told(client, 2).await, json!(2));
    }
    hand.put("k", &json!(3)).await;
    for client in &clients {
        assert_eq!(told(client, 3).await, json!(3));
    }
}
