//! A node that can only connect outwards: its own NATS server is a leaf node of the hub's.

use serde_json::{Value, json};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, program},
};

/// A hub with JetStream, and a server that is a leaf node of it.
async fn hub_and_leaf(more: &str) -> (NatsServer, NatsServer) {
    let hub = "jetstream { store_dir: \"FOLDER/store\", domain: hub }\nleafnodes { listen: \"127.0.0.1:-1\" }\n";
    let hub = NatsServer::start_configured(hub).await.unwrap();
    let address = hub.leafnodes().await.unwrap();
    let leaf = format!("{more}\nleafnodes {{ remotes: [ {{ url: \"nats://{address}\" }} ] }}\n");
    (hub, NatsServer::start_configured(&leaf).await.unwrap())
}

/// A server of each node is in the one catalog and is called from the other one; what one writes the other one reads.
async fn two_nodes_are_one_broker(hub: &NatsServer, leaf: &NatsServer) {
    let server = |name: &str| {
        let program = spanwire_mcp::string_literal(&program().unwrap().to_string_lossy());
        format!("[servers.{name}]\ncommand = {program}\nargs = [\"demo-server\", \"{name}\"]\n")
    };
    let near = format!("[nats]\nurl = \"{}\"\n{}", hub.url(), server("notes"));
    let far = format!("[nats]\nurl = \"{}\"\njetstream_domain = \"hub\"\n{}", leaf.url(), server("weather"));
    let (near, far) = tokio::join!(Node::start_as("near", &near), Node::start_as("far", &far));
    let (near, far) = (near.unwrap(), far.unwrap());
    for node in [&near, &far] {
        node.wait_servers(&["notes", "weather"], ServerState::Ready).await.unwrap();
    }
    let weather = near.call("weather__get_forecast", &json!({ "city": "Oslo", "days": 2 })).await.unwrap();
    assert!(weather["content"][0]["text"].as_str().is_some_and(|text| text.contains("Oslo")), "{weather}");
    far.call("notes__list_notes", &json!({})).await.unwrap();

    // The first write may have to wait for the streams to be made.
    for (from, to) in [(&near, &far), (&far, &near)] {
        let written = put(from).await;
        let sequence = written["sequence"].to_string();
        let args = ["ctx", "get", "edge", from.id(), "--at-least", &sequence, "--json"];
        let got = to.command_json(&args).await.unwrap();
        assert_eq!((&got["value"], &got["version"]), (&json!(from.id()), &written["sequence"]), "{got}");
    }
}

async fn put(node: &Node) -> Value {
    let value = json!(node.id()).to_string();
    super::within(async {
        loop {
            if let Ok(written) = node.command_json(&["ctx", "put", "edge", node.id(), &value, "--json"]).await {
                return written;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_leaf_node_is_of_the_one_broker() {
    let (hub, leaf) = hub_and_leaf("").await;
    two_nodes_are_one_broker(&hub, &leaf).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_node_may_have_a_jetstream_of_its_own() {
    let (hub, leaf) = hub_and_leaf("jetstream { store_dir: \"FOLDER/store\", domain: edge }").await;
    two_nodes_are_one_broker(&hub, &leaf).await;
}
