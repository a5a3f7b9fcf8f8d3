//! A node whose NATS server has no JetStream, or does not answer: calls go on, and the context says what is wrong.

use spanwire_rpc::v1::{ContextGetRequest, ContextWriteRequest, ServerState, ShardState, StatusRequest};
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, START_TIMEOUT},
};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{
    hand::{put, refused},
    world::LOOK_EVERY,
};

async fn is_cut_off(node: &Node) {
    let mut contexts = node.contexts().await.unwrap();
    let request = ContextWriteRequest {
        space: "s".into(),
        operations: vec![put("k", &serde_json::json!(1))],
        timeout_ms: 5000,
        ..ContextWriteRequest::default()
    };
    refused(contexts.write(request).await, Code::Unavailable, "unavailable");
    // What is here is read all the same.
    let request = ContextGetRequest { space: "s".into(), key: "k".into(), read: None };
    assert!(contexts.get(request).await.unwrap().into_inner().entry.is_none());

    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let status = node.broker().await.unwrap().status(StatusRequest {}).await.unwrap().into_inner();
        let cut_off =
            |shard: &spanwire_rpc::v1::ShardStatus| shard.state() == ShardState::CutOff && !shard.detail.is_empty();
        if status.shards.len() == 5 && status.shards.iter().all(cut_off) {
            break;
        }
        assert!(Instant::now() < deadline, "{:#?}", status.shards);
        sleep(LOOK_EVERY).await;
    }
    // Every read says how old it may be, to programs and to people.
    for args in [["list", "s"].as_slice(), &["log", "s"], &["snapshot", "s"], &["spaces"]] {
        let told = node.command_json(&[&["ctx"], args, &["--json"]].concat()).await.unwrap();
        assert!(told["stale_ms"].as_u64() > Some(0), "{args:?}: {told}");
        let output = node.command(&[&["ctx"], args].concat()).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && error.contains("the log has been out of reach"), "{args:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_jetstream_calls_go_on_and_the_context_says_why_not() {
    let nats = NatsServer::start().await.unwrap();
    let config = format!("[nats]\nurl = \"{}\"\n", nats.url());
    let (a, b) = tokio::join!(Node::start_as("a", &config), Node::start_as("b", &config));
    let (a, b) = (a.unwrap(), b.unwrap());
    a.wait_nodes(&["a", "b"]).await.unwrap();
    b.wait_servers(&["context"], ServerState::Ready).await.unwrap();
    is_cut_off(&a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_nats() {
    let mut nats = NatsServer::start_jetstream().await.unwrap();
    nats.kill();
    let node = Node::start_as("a", &format!("[nats]\nurl = \"{}\"\n", nats.url())).await.unwrap();
    is_cut_off(&node).await;
    nats.restart().await.unwrap();
    node.wait_following().await.unwrap();
}
