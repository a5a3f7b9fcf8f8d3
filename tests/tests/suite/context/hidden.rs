//! A node that keeps the context from its MCP clients, beside one that does not.

use serde_json::{Value, json};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::{Caller, Node},
};

use super::hand::{Hand, value};

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_node_that_keeps_it_to_itself_see_nothing_of_it() {
    let nats = NatsServer::start_jetstream().await.unwrap();
    let config = format!("[nats]\nurl = \"{}\"\n", nats.url());
    let hides = format!("{config}[context]\nexpose = false\n");
    let (hidden, open) = tokio::join!(Node::start_as("hidden", &hides), Node::start_as("open", &config));
    let (hidden, open) = (hidden.unwrap(), open.unwrap());
    open.wait_servers(&["context"], ServerState::Ready).await.unwrap();
    for node in [&hidden, &open] {
        node.wait_nodes(&["hidden", "open"]).await.unwrap();
        node.wait_settled().await.unwrap();
        node.wait_following().await.unwrap();
    }
    let mut hand = Hand::new(&hidden, "s").await;
    let first = hand.put("k", &json!("through gRPC")).await;
    let (inside, outside) = (Caller::new(hidden.mcp_url("")), Caller::new(open.mcp_url("")));

    // Nothing of its own, and nothing of the other node's.
    let shows = async |caller: &Caller| {
        let tools = caller.tools().await.unwrap();
        let templates = caller.ask("resources/templates/list", json!({})).await.unwrap();
        let discovered = caller.ask("server/discover", json!({})).await.unwrap();
        (
            tools.iter().any(|tool| tool.starts_with("context__")),
            templates["result"].to_string().contains("ctx://"),
            discovered["result"]["capabilities"].get("completions").is_some(),
        )
    };
    assert_eq!(shows(&inside).await, (false, false, false));
    assert_eq!(shows(&outside).await, (true, true, true));
    let get = json!({ "space": "s", "key": "k", "at_least": first });
    let template = json!({ "type": "ref/resource", "uri": "context+ctx://{space}/{+key}" });
    for (method, params) in [
        ("tools/call", json!({ "name": "context__get", "arguments": get })),
        ("resources/read", json!({ "uri": "context+ctx://s/k" })),
        ("completion/complete", json!({ "ref": template, "argument": { "name": "space", "value": "" } })),
    ] {
        let refused = inside.ask(method, params.clone()).await.unwrap();
        assert_eq!(refused["error"]["code"], -32602, "{method}: {refused}");
        let answered = outside.ask(method, params).await.unwrap();
        assert!(answered.get("result").is_some(), "{method}: {answered}");
    }
    let view = Caller::new(hidden.mcp_url("context")).ask("tools/list", json!({})).await;
    assert!(view.as_ref().is_ok_and(|answer| answer.get("error").is_some()), "{view:?}");

    // Both write, each through its own door, and see each other.
    let put = json!({ "space": "s", "key": "k", "value": "through MCP", "if_version": first });
    let put = outside.call("context__put", put).await.unwrap();
    let second = put["result"]["structuredContent"]["version"].as_u64().unwrap_or_else(|| panic!("{put}"));
    assert_eq!(value(&hand.get("k", second).await.unwrap()), json!("through MCP"));
    let spaces = hidden.command_json(&["ctx", "spaces", "--linearizable", "--json"]).await.unwrap();
    assert_eq!(spaces["spaces"].as_array().map(Vec::len), Some(1), "{spaces}");
    let listed: Value = open.command_json(&["ctx", "list", "s", "--json"]).await.unwrap();
    assert_eq!(listed["entries"][0]["author"]["node"], "open", "{listed}");
}
