//! A principal sees and calls what it may, on every node: what it may not is as if it were not there.

use serde_json::json;
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::{Caller, Node},
    peers::{Peers, Sdk, Via},
};

const PRINCIPALS: &str = r#"
[[principals]]
name = "boss"
token = "boss-token"

[[principals]]
name = "clerk"
token = "clerk-token"
tools = ["everything__echo", "memory__read*"]
prompts = []
resources = []
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_sees_and_calls_only_its_own_tools_on_both_nodes() {
    let peers = Peers::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let nats = NatsServer::start().await.unwrap();
    // The tools of the servers are counted, not those of the broker.
    let bus = format!("[context]\nexpose = false\n[nats]\nurl = \"{}\"\n{PRINCIPALS}\n", nats.url());
    let a = bus.clone() + &peers.everything().config("everything");
    let b = bus + &peers.memory(&folder.path().join("graph.json")).config("memory");
    let (a, b) = tokio::join!(Node::start_as("a", &a), Node::start_as("b", &b));
    for node in [a.unwrap(), b.unwrap()].iter() {
        node.wait_servers(&["everything", "memory"], ServerState::Ready).await.unwrap();
        node.wait_settled().await.unwrap();
        check(&peers, node).await;
    }
}

async fn check(peers: &Peers, node: &Node) {
    let url = node.mcp_url("");
    let (boss, clerk) = (Caller::new(&url).with_token("boss-token"), Caller::new(&url).with_token("clerk-token"));
    assert_eq!(boss.tools().await.unwrap().len(), 26);
    assert_eq!(clerk.tools().await.unwrap(), ["everything__echo", "memory__read_graph"]);

    let answer = clerk.call("everything__echo", json!({ "message": "hi" })).await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "Echo: hi", "{answer}");
    let answer = clerk.call("memory__read_graph", json!({})).await.unwrap();
    assert!(answer["result"]["structuredContent"].is_object(), "{answer}");

    // A tool that is denied reads like one that nobody has, but for its name.
    let denied = clerk.call("everything__get-env", json!({})).await.unwrap();
    let unknown = clerk.call("everything__get-abc", json!({})).await.unwrap();
    assert_eq!(denied["error"]["code"], -32602, "{denied}");
    assert_eq!(denied.to_string().replace("get-env", "get-abc"), unknown.to_string());
    let allowed = boss.call("everything__get-env", json!({})).await.unwrap();
    assert!(allowed["result"]["content"].is_array(), "{allowed}");
    // Neither does a view of one server open a way around.
    let own = Caller::new(node.mcp_url("everything")).with_token("clerk-token");
    assert_eq!(own.tools().await.unwrap(), ["echo"]);
    assert_eq!(own.call("get-env", json!({})).await.unwrap()["error"]["code"], -32602);
    let read = clerk.ask("resources/read", json!({ "uri": "memory+memory://knowledge-graph" })).await.unwrap();
    assert!(read.get("error").is_some(), "{read}");

    for stranger in [Caller::new(&url), Caller::new(&url).with_token("guess")] {
        assert_eq!(stranger.open("tools/list", json!({})).await.unwrap().status(), 401);
    }

    let ops = json!([{ "op": "list_tools" }, { "op": "list_prompts" }]);
    for sdk in [Sdk::TypeScriptLegacy, Sdk::PythonModern] {
        let document = peers.run(sdk, &Via::Token(url.clone(), "clerk-token".to_owned()), &ops).await.unwrap();
        assert_eq!(document["results"][0]["ok"]["tools"].as_array().unwrap().len(), 2, "{sdk:?}: {document}");
        assert_eq!(document["results"][1]["ok"]["prompts"], json!([]), "{sdk:?}: {document}");
    }
}
