//! The tools and resources of the context, for clients of either era.

use serde_json::{Value, json};
use spanwire_mcp::Revision;
use spanwire_tests::{
    node::{Caller, Node},
    scripted::{Client, Declared, Got, HttpClient},
};

use super::{
    hand::{Hand, value},
    world::World,
};

pub(super) async fn check(world: &mut World) {
    let listed = Caller::new(world.first().mcp_url("")).tools().await.unwrap();
    for tool in ["get", "put", "patch", "delete", "drop", "append", "txn", "list", "log", "snapshot", "spaces"] {
        assert!(listed.contains(&format!("context__{tool}")), "no {tool} in {listed:?}");
    }
    for revision in [Revision::V2026_07_28, Revision::V2025_11_25] {
        let writer = open(world.first(), revision).await;
        let reader = open(world.last(), revision).await;
        let space = format!("mcp-{}", revision.as_str());
        tools(world, &writer, &reader, &space).await;
        resources(&writer, &reader, &space).await;
        completions(&writer, &reader, &space).await;
        let dropped = good(&writer, "drop", json!({ "space": space })).await;
        assert_eq!(dropped["dropped"], true, "{dropped}");
    }
}

/// What a host offers while somebody fills in the template.
async fn completions(writer: &Client, reader: &Client, space: &str) {
    let operations = |from: usize| -> Vec<Value> {
        (from..from + 60).map(|n| json!({ "op": "put", "key": format!("many/{n:03}"), "value": n })).collect()
    };
    let mut sequence = json!(0);
    for from in [0, 60] {
        sequence =
            good(writer, "txn", json!({ "space": space, "operations": operations(from) })).await["sequence"].clone();
    }
    good(reader, "get", json!({ "space": space, "key": "many/119", "at_least": sequence })).await;
    let completed = async |name: &str, typed: &str| {
        let params = json!({
            "ref": { "type": "ref/resource", "uri": "context+ctx://{space}/{+key}" },
            "argument": { "name": name, "value": typed },
            "context": { "arguments": { "space": space } },
        });
        result(reader, "completion/complete", params).await["completion"].clone()
    };
    assert_eq!(completed("space", space).await, json!({ "values": [space], "hasMore": false }));
    assert_eq!(completed("key", "many/11").await["values"].as_array().map(Vec::len), Some(10));
    let all = completed("key", "many/").await;
    let values = all["values"].as_array().unwrap();
    assert_eq!((values.len(), &values[99], &all["hasMore"]), (100, &json!("many/099"), &json!(true)));
}

pub(super) async fn open(node: &Node, revision: Revision) -> Client {
    let declared = Declared { revision, capabilities: json!({}), name: "suite".into() };
    HttpClient::open(vec![node.mcp_url("")], "anybody", declared).await.unwrap()
}

/// The result of a request.
pub(super) async fn result(client: &Client, method: &str, params: Value) -> Value {
    let response = client.call(method, params).await.unwrap();
    assert!(response.get("error").is_none(), "{method}: {response}");
    response["result"].clone()
}

/// The whole result of a tool.
async fn call(client: &Client, tool: &str, arguments: &Value) -> Value {
    let params = json!({ "name": format!("context__{tool}"), "arguments": arguments });
    result(client, "tools/call", params).await
}

/// What a tool says to programs, of a call that went well; models read the same as text.
async fn good(client: &Client, tool: &str, arguments: Value) -> Value {
    let result = call(client, tool, &arguments).await;
    assert_ne!(result["isError"], true, "{tool} {arguments}: {result}");
    let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"));
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), result["structuredContent"], "{result}");
    result["structuredContent"].clone()
}

async fn tools(world: &World, writer: &Client, reader: &Client, space: &str) {
    let put = good(writer, "put", json!({ "space": space, "key": "goal", "value": { "n": 1 } })).await;
    let at_least = |written: &Value| json!({ "space": space, "key": "goal", "at_least": written["sequence"] });
    let got = good(reader, "get", at_least(&put)).await;
    assert_eq!((&got["found"], &got["item"]["value"]), (&json!(true), &json!({ "n": 1 })), "{got}");
    assert_eq!(got["item"]["version"], put["version"], "{got}");
    assert_eq!(got["item"]["writer"]["principal"], "anonymous", "{got}");
    for part in ["call", "trace", "span"] {
        assert!(got["item"]["writer"][part].is_string(), "no {part} in {got}");
    }

    let again = json!({ "space": space, "key": "goal", "value": 2, "if_absent": true });
    let refused = call(reader, "put", &again).await;
    assert_eq!((&refused["isError"], &refused["structuredContent"]["kind"]), (&json!(true), &json!("conflict")));
    assert_eq!(refused["structuredContent"]["data"]["version"], put["version"], "{refused}");

    let patched = good(writer, "patch", json!({ "space": space, "key": "goal", "merge": { "m": 2 } })).await;
    let got = good(reader, "get", at_least(&patched)).await;
    assert_eq!(got["item"]["value"], json!({ "n": 1, "m": 2 }));
    good(writer, "append", json!({ "space": space, "key": "notes", "values": ["x", 1] })).await;
    let transaction = json!({
        "space": space,
        "conditions": [{ "key": "goal", "version": patched["version"] }],
        "operations": [
            { "op": "put", "key": "goal", "value": 3 },
            { "op": "append", "key": "notes", "values": [2] },
        ],
    });
    let done = good(writer, "txn", transaction).await;
    let read = json!({ "space": space, "at_least": done["sequence"], "values": true });
    let listed = good(reader, "list", read.clone()).await;
    let items: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| (&item["key"], &item["value"])).collect();
    assert_eq!(items, [(&json!("goal"), &json!(3)), (&json!("notes"), &json!(["x", 1, 2]))]);
    let snapshot = good(reader, "snapshot", json!({ "space": space, "level": "linearizable" })).await;
    assert_eq!(snapshot["items"].as_array().unwrap().len(), 2, "{snapshot}");
    let log = good(reader, "log", read).await;
    assert_eq!(log["events"].as_array().unwrap().len(), 5, "{log}");
    let gone = good(writer, "delete", json!({ "space": space, "key": "notes" })).await;
    let missing = json!({ "space": space, "key": "notes", "at_least": gone["sequence"] });
    assert_eq!(good(reader, "get", missing).await["found"], false);

    // The same space through another door.
    let mut hand = Hand::new(world.last(), space).await;
    let sequence = gone["sequence"].as_u64().unwrap();
    assert_eq!(value(&hand.get("goal", sequence).await.unwrap()), json!(3));
}

async fn resources(writer: &Client, reader: &Client, space: &str) {
    let templates = result(reader, "resources/templates/list", json!({})).await;
    assert!(templates.to_string().contains("context+ctx://{space}/{+key}"), "{templates}");
    let uri = format!("context+ctx://{space}/watched");
    subscribe(reader, &uri).await;
    for n in 1..=2 {
        let written = good(writer, "put", json!({ "space": space, "key": "watched", "value": { "n": n } })).await;
        let updated = |got: &[Got]| {
            let of_uri = got.iter().filter(|got| {
                got.message["method"] == "notifications/resources/updated" && got.message["params"]["uri"] == uri
            });
            (of_uri.count() >= n).then_some(())
        };
        reader.wait("an update", updated).await.unwrap();
        // Whoever is told of a change reads it.
        let read = result(reader, "resources/read", json!({ "uri": uri })).await;
        let content = &read["contents"][0];
        assert_eq!(content["uri"], uri, "{read}");
        assert_eq!(serde_json::from_str::<Value>(content["text"].as_str().unwrap()).unwrap(), json!({ "n": n }));
        assert_eq!(content["_meta"]["spanwire/version"], written["version"], "{read}");
    }
    let none = json!({ "uri": format!("context+ctx://{space}/none") });
    let unknown = reader.call("resources/read", none).await.unwrap();
    assert!(unknown.get("error").is_some(), "{unknown}");
}

/// Returns when whatever happens from now on is told.
pub(super) async fn subscribe(client: &Client, uri: &str) {
    if !client.is_modern() {
        result(client, "resources/subscribe", json!({ "uri": uri })).await;
        return;
    }
    let filter = json!({ "notifications": { "resourceSubscriptions": [uri] } });
    client.begin("subscriptions/listen", filter, &[]).await.unwrap();
    let acknowledged = |got: &[Got]| {
        let mut all = got.iter();
        all.any(|got| got.message["method"] == "notifications/subscriptions/acknowledged").then_some(())
    };
    client.wait("the acknowledgement", acknowledged).await.unwrap();
}
