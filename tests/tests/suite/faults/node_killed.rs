//! A node dies in mid-call, without a word to anybody.

use serde_json::json;
use spanwire_tests::{nats::NatsServer, node::Node};

use super::{
    client::Client,
    eventually,
    rig::{self, Reach, Rig},
    server::{Kind, Server},
};

/// Two nodes with a replica each, and a third one that the client talks to.
struct Cluster {
    _nats: NatsServer,
    near: Node,
    client: Client,
    replicas: Vec<(Node, Server)>,
    solos: Vec<Server>,
}

async fn cluster() -> Cluster {
    let nats = NatsServer::start().await.unwrap();
    let bare = rig::sections(Some(&nats), "call_timeout_ms = 12000");
    let near = Node::start(&bare).await.unwrap();
    let client = Client::new(near.mcp_url(""));
    let (mut replicas, mut solos) = (Vec::new(), Vec::new());
    for n in 0..2 {
        let pair = Server::new("pair", Kind::StdioModern).await;
        let solo = Server::new(&format!("solo-{n}"), Kind::StdioLegacy).await;
        let node = Node::start(&format!("{bare}\n{}\n{}", pair.config(""), solo.config(""))).await.unwrap();
        rig::answers(&client, &solo).await;
        replicas.push((node, pair));
        solos.push(solo);
    }
    rig::answers(&client, &replicas[0].1).await;
    Cluster { _nats: nats, near, client, replicas, solos }
}

#[tokio::test]
async fn a_call_is_lost_with_its_node_and_a_replica_takes_the_next() {
    let mut cluster = cluster().await;
    let call = cluster.client.begin("pair__hang", json!({ "tag": "a" }));
    let replicas = &cluster.replicas;
    let look = async || replicas.iter().position(|(_, server)| server.saw("started a"));
    let at = eventually("a replica has the call", look).await;
    let escapee = cluster.client.call(&cluster.solos[at].tool("spawn"), json!({})).await;
    escapee.text();

    let (dead, _) = &mut cluster.replicas[at];
    // A child that has just been forked has no command line yet.
    let look = async || Some(dead.tree()).filter(|tree| tree.iter().any(|child| child.command.contains("sleep 600")));
    let children = eventually("the escapee runs", look).await;
    dead.kill().await.unwrap();

    // The other replica is there at once.
    let look = async || cluster.client.call("pair__echo", json!({ "text": "x" })).await.ok().map(drop);
    eventually("the other replica answers", look).await;
    for _ in 0..20 {
        assert_eq!(cluster.client.call("pair__echo", json!({ "text": "y" })).await.text(), "y");
    }
    rig::gone(&children).await;
    call.await.unwrap().must_be_lost("pair");

    // The node and what only it had are gone from the catalog; the rest stays.
    let (gone, left) = (cluster.solos[at].tool("echo"), cluster.solos[1 - at].tool("echo"));
    let look = async || {
        let tools = cluster.client.tools().await;
        assert!(tools.contains(&left) && tools.iter().any(|tool| tool == "pair__echo"), "{tools:?}");
        (!tools.contains(&gone)).then_some(())
    };
    eventually("the catalog has lost the dead node's server", look).await;
    let answer = cluster.client.call(&gone, json!({})).await;
    assert_eq!(answer.body["error"]["code"], -32602, "{}", answer.body);
    let nodes = cluster.near.metric("spanwire_nodes", &[]).await.unwrap();
    assert!((nodes - 2.0).abs() < 0.1, "{nodes} nodes");
    rig::falls_silent(&cluster.near).await;
    rig::falls_silent(&cluster.replicas[1 - at].0).await;
}

#[tokio::test]
async fn calls_to_a_server_that_only_the_dead_node_had_are_unavailable_at_once() {
    let server = Server::new("solo", Kind::StdioModern).await;
    let mut rig = Rig::start(Reach::Across, "", &[(&server, "")]).await;
    rig.far.as_mut().unwrap().kill().await.unwrap();
    // The bus forgets the dead node with its connection, which the kernel closed; the catalog some heartbeats later.
    let look = async || {
        let answer = rig.client.call("solo__echo", json!({ "text": "x" })).await;
        let known = answer.body["error"]["code"] != -32602;
        known.then(|| answer.must_be_unavailable("solo"))
    };
    eventually("the call is refused", look).await;
    rig::falls_silent(&rig.near).await;
}

#[tokio::test]
async fn a_killed_node_leaves_no_process_behind() {
    let stdio = Server::new("child", Kind::StdioLegacy).await;
    let mut rig = Rig::start(Reach::Here, "", &[(&stdio, "")]).await;
    rig.client.call("child__spawn", json!({})).await.text();
    let (client, tool) = (rig.client.clone(), stdio.tool("hang"));
    let call = tokio::spawn(async move { client.try_call(&tool, json!({ "tag": "a" })).await });
    stdio.sees("started a").await;
    let children = rig.near.tree();
    assert!(children.len() >= 3, "guard, server and grandchild: {children:?}");
    rig.near.kill().await.unwrap();
    assert!(call.await.unwrap().is_err(), "the connection breaks");
    rig::gone(&children).await;
}
