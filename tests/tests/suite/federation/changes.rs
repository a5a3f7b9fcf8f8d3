//! Changes of lists and of resources reach clients of both eras on every node.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::{Caller, Messages, Node},
    peers::{Peers, Sdk, Via, call},
};

use super::deployment::{Deployment, Topology};

/// What cannot flake on a machine that is busy; the measured time is printed.
const BOUND: Duration = Duration::from_secs(10);
const GRAPH: &str = "memory+memory://knowledge-graph";

/// A subscription that the node has acknowledged.
async fn listen(caller: &Caller, notifications: Value) -> Messages {
    let mut messages = caller.open("subscriptions/listen", json!({ "notifications": notifications })).await.unwrap();
    let first = messages.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    messages
}

async fn until(messages: &mut Messages, method: &str) -> Value {
    loop {
        let message = messages.next().await.unwrap();
        if message["method"] == method {
            return message;
        }
    }
}

/// A legacy server that takes its time to subscribe, and counts its subscriptions.
const SLOW_TO_SUBSCRIBE: &str = r#"
    global watched
    if "id" not in message: return
    if method == "initialize":
        watched = []
        return hello(tools={}, resources={"subscribe": True})
    if method == "tools/list": return reply({"tools": [tool("watched")]})
    if method == "resources/list": return reply({"resources": [{"uri": "slow://one", "name": "one"}]})
    if method == "resources/templates/list": return reply({"resourceTemplates": []})
    if method == "resources/subscribe":
        time.sleep(0.3)
        watched.append(params["uri"])
        return reply({})
    if method == "tools/call": return reply({"content": [{"type": "text", "text": json.dumps(watched)}]})
    fail(-32601, "no such method")
"#;

/// The client listens at one node, and the server is asked through the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_acknowledged_when_the_server_has_it() {
    let nats = NatsServer::start().await.unwrap();
    let bus = format!("[nats]\nurl = \"{}\"\n", nats.url());
    let config = bus.clone() + &Peers::find().unwrap().script_server(SLOW_TO_SUBSCRIBE).config("slow");
    let (a, b) = tokio::join!(Node::start_as("a", &bus), Node::start_as("b", &config));
    let (a, b) = (a.unwrap(), b.unwrap());
    a.wait_servers(&["slow"], ServerState::Ready).await.unwrap();
    let caller = Caller::new(a.mcp_url(""));
    let _messages = listen(&caller, json!({ "resourceSubscriptions": ["slow+slow://one"] })).await;
    let answer = Caller::new(b.mcp_url("")).call("slow__watched", json!({})).await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "[\"slow://one\"]", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_the_clients_of_every_node_and_era() {
    let deployment = Deployment::start(Topology::Two).await;
    a_new_tool_is_known_everywhere_at_once(&deployment).await;
    for node in &deployment.nodes {
        for sdk in Sdk::ALL {
            changes_reach(&deployment, sdk, &node.mcp_url(""), &format!("{}-{sdk:?}", node.id())).await;
        }
    }
}

/// fastmcp is attached to b; the listening client is at a.
async fn a_new_tool_is_known_everywhere_at_once(deployment: &Deployment) {
    let (a, b) = (Caller::new(deployment.nodes[0].mcp_url("")), Caller::new(deployment.nodes[1].mcp_url("")));
    let mut messages = listen(&a, json!({ "toolsListChanged": true })).await;
    let start = Instant::now();
    b.call("fastmcp__register_tool", json!({ "name": "fresh" })).await.unwrap();
    until(&mut messages, "notifications/tools/list_changed").await;
    let taken = start.elapsed();
    println!("a new tool at node b was announced at node a {taken:?} after it was asked for");
    assert!(taken < BOUND, "{taken:?}");
    let tools = a.tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool == "fastmcp__fresh"), "{tools:?}");
    let answer = a.call("fastmcp__fresh", json!({})).await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "fresh", "{answer}");

    let mut messages = listen(&a, json!({ "resourceSubscriptions": ["fastmcp+counter://value"] })).await;
    let start = Instant::now();
    b.call("fastmcp__touch_resource", json!({})).await.unwrap();
    let updated = until(&mut messages, "notifications/resources/updated").await;
    println!("a resource of node b was announced at node a after {:?}", start.elapsed());
    assert_eq!(updated["params"]["uri"], "fastmcp+counter://value", "{updated}");
}

async fn changes_reach(deployment: &Deployment, sdk: Sdk, url: &str, unique: &str) {
    let entity = json!({ "name": unique, "entityType": "x", "observations": [] });
    let ops = json!([
        { "op": "wait_list_changed", "kind": "tools", "trigger": call("fastmcp__register_tool", json!({ "name": unique })) },
        { "op": "list_tools" },
        { "op": "wait_resource_updated", "uri": GRAPH, "trigger": call("memory__create_entities", json!({ "entities": [entity] })) },
        { "op": "wait_resource_updated", "uri": "fastmcp+counter://value", "trigger": call("fastmcp__touch_resource", json!({})) },
    ]);
    let document = deployment.peers.run(sdk, &Via::Http(url.to_owned()), &ops).await.unwrap();
    let results = &document["results"];
    for (index, method) in [(0, "tools/list_changed"), (2, "resources/updated"), (3, "resources/updated")] {
        let notification = &results[index]["ok"]["notification"];
        assert_eq!(notification["method"], format!("notifications/{method}"), "{sdk:?} at {url}: {}", results[index]);
    }
    assert_eq!(results[2]["ok"]["notification"]["params"]["uri"], GRAPH, "{sdk:?} at {url}");
    let tools = results[1]["ok"]["tools"].as_array().unwrap();
    let name = format!("fastmcp__{unique}");
    assert!(tools.iter().any(|tool| tool["name"] == name.as_str()), "{sdk:?} at {url}: no {name}");
}
