//! Federation: real servers behind one or two real nodes, asked by real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::json;
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    node::Node,
    peers::{Peers, Sdk, Via, call},
};

#[tokio::test]
async fn one_node_serves_a_real_server_and_leaves_nothing_behind() {
    let peers = Peers::find().unwrap();
    let mut node = Node::start(&peers.everything().config("everything")).await.unwrap();
    let servers = node.wait_servers(&["everything"], ServerState::Ready).await.unwrap();
    assert_eq!(servers[0].tools, 13, "{servers:?}");
    let ops = json!([call("everything__echo", json!({ "message": "hi" }))]);
    let answer = peers.run(Sdk::PythonModern, &Via::Http(node.mcp_url("")), &ops).await.unwrap();
    assert_eq!(answer["results"][0]["ok"]["content"][0]["text"], "Echo: hi", "{answer}");
    assert!(node.metrics().await.unwrap().ends_with("# EOF\n"));
    assert!(!node.tree().is_empty());
    node.stop().await.unwrap();
}
