//! The builtin MCP server, called as the router calls it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use spanwire_mcp::{Json, Method};
use spanwire_model::{ErrorKind, Reply, ShardState, Upstream, UpstreamCall};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    author, options, put,
    service::{ann, contexts, contexts_with},
    space,
};
use crate::{Config, Contexts, Quotas, Transaction, connect};

pub(super) struct Client(pub(super) Arc<dyn Upstream>);

impl Client {
    pub(super) fn of(contexts: &Contexts) -> Self {
        Self(connect(contexts).upstream)
    }

    pub(super) fn ask(&self, principal: &str, method: Method, params: &Value) -> Reply {
        self.ask_raw(principal, method, Json::from_trusted(params.to_string()))
    }

    pub(super) fn ask_raw(&self, principal: &str, method: Method, params: Json) -> Reply {
        self.0.call(UpstreamCall {
            call_id: Uuid::from_u128(7),
            principal: principal.into(),
            method,
            params,
            deadline: Instant::now() + Duration::from_secs(30),
            trace: author("ann").trace,
        })
    }

    pub(super) async fn result(&self, method: Method, params: Value) -> Value {
        self.ask("ann", method, &params).outcome().await.unwrap().to_value()
    }

    pub(super) async fn tool_by(&self, principal: &str, name: &str, arguments: Value) -> (bool, Value) {
        let params = json!({ "name": name, "arguments": arguments });
        let result = self.ask(principal, Method::ToolsCall, &params).outcome().await.unwrap().to_value();
        assert_eq!(result["resultType"], "complete");
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"]);
        (result.get("isError").is_none(), text)
    }

    async fn done(&self, name: &str, arguments: Value) -> Value {
        let (is_done, shown) = self.tool_by("ann", name, arguments).await;
        assert!(is_done, "{shown}");
        check_against_schema(self, name, &shown).await;
        shown
    }

    async fn failed(&self, name: &str, arguments: Value) -> (String, String, Value) {
        let (is_done, shown) = self.tool_by("ann", name, arguments).await;
        assert!(!is_done, "{shown}");
        check_against_schema(self, name, &shown).await;
        let text = |name: &str| shown[name].as_str().unwrap().to_owned();
        (text("kind"), text("text"), shown["data"].clone())
    }
}

/// Nothing is in a result that the tool's schema does not name, and what it names has its type.
async fn check_against_schema(client: &Client, name: &str, shown: &Value) {
    let tools = client.result(Method::ToolsList, json!({})).await;
    let tool = tools["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == name).unwrap().clone();
    for (member, value) in shown.as_object().unwrap() {
        let schema = &tool["outputSchema"]["properties"][member];
        let fits = match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => false,
        };
        assert!(fits, "{name}: {member} is {value}, the schema says {schema}");
    }
}

#[tokio::test]
async fn it_says_what_it_is_and_has() {
    let (contexts, _, _) = contexts();
    let connected = connect(&contexts);
    assert!(["tools", "resources", "completions"].iter().all(|name| connected.facts.has(name)));
    let client = Client(connected.upstream);
    let discovered = client.result(Method::Discover, json!({})).await;
    assert_eq!(discovered["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(discovered["capabilities"]["resources"]["subscribe"], true);
    let listed = client.result(Method::ToolsList, json!({})).await;
    let mut names = Vec::new();
    for tool in listed["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        let hint = |hint: &str| tool["annotations"][hint].as_bool().unwrap();
        let is_read = ["get", "list", "log", "snapshot", "spaces"].contains(&name);
        assert_eq!(hint("readOnlyHint"), is_read, "{name}");
        assert_eq!(hint("idempotentHint"), is_read || ["delete", "drop"].contains(&name), "{name}");
        assert_eq!(hint("destructiveHint"), ["put", "patch", "delete", "drop", "txn"].contains(&name), "{name}");
        assert!(tool["description"].is_string());
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name}");
        }
        for required in tool["inputSchema"]["required"].as_array().unwrap() {
            assert!(tool["inputSchema"]["properties"].get(required.as_str().unwrap()).is_some(), "{name} {required}");
        }
        names.push(name);
    }
    names.sort_unstable();
    assert_eq!(names, ["append", "delete", "drop", "get", "list", "log", "patch", "put", "snapshot", "spaces", "txn"]);
    let templates = client.result(Method::ResourceTemplatesList, json!({})).await;
    assert_eq!(templates["resourceTemplates"][0]["uriTemplate"], "ctx://{space}/{+key}");
    assert_eq!(client.result(Method::ResourcesList, json!({})).await["resources"], json!([]));
    let error = client.ask("ann", Method::PromptsList, &json!({})).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::MethodNotFound);
    let unknown = json!({ "name": "nope", "arguments": {} });
    let error = client.ask("ann", Method::ToolsCall, &unknown).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams);
}

#[tokio::test]
async fn every_tool() {
    let (contexts, _, _) = contexts();
    let client = Client::of(&contexts);
    let put = client.done("put", json!({ "space": "s", "key": "a/b", "value": { "x": 1 }, "if_absent": true })).await;
    assert_eq!((&put["version"], &put["sequence"], &put["key"]), (&1.into(), &1.into(), &"a/b".into()));
    let got = client.done("get", json!({ "space": "s", "key": "a/b", "at_least": 1 })).await;
    assert_eq!((&got["found"], &got["item"]["value"]), (&true.into(), &json!({ "x": 1 })));
    let writer = &got["item"]["writer"];
    assert_eq!((&writer["principal"], &writer["node"]), (&"ann".into(), &"left".into()));
    assert_eq!(writer["call"], Uuid::from_u128(7).to_string());
    assert_eq!(writer["trace"], "00000000000000000000000000000abc");
    assert_eq!(client.done("get", json!({ "space": "s", "key": "none" })).await["found"], false);
    client.done("patch", json!({ "space": "s", "key": "a/b", "merge": { "y": [2] }, "if_version": 1 })).await;
    let steps = json!([{ "op": "add", "path": "/y/-", "value": 3 }]);
    client.done("patch", json!({ "space": "s", "key": "a/b", "steps": steps })).await;
    let added = client.done("append", json!({ "space": "s", "key": "l", "values": [1, null] })).await;
    assert_eq!(added["length"], 2);
    let operations = json!([
        { "op": "put", "key": "c", "value": null, "ttl_ms": 3_600_000 },
        { "op": "append", "key": "l", "values": ["x"] },
        { "op": "patch", "key": "a/b", "merge": { "x": null } },
        { "op": "delete", "key": "none" },
    ]);
    let conditions =
        json!([{ "key": "l", "version": 4 }, { "key": "c", "exists": false }, { "key": "a/b", "exists": true }]);
    let done = client.done("txn", json!({ "space": "s", "conditions": conditions, "operations": operations })).await;
    assert_eq!((done["results"].as_array().unwrap().len(), &done["results"][1]["length"]), (4, &3.into()));
    assert_eq!(client.done("delete", json!({ "space": "s", "key": "none" })).await["changed"], false);
    let listed = client.done("list", json!({ "space": "s", "limit": 2 })).await;
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["next"]), (2, &"c".into()));
    assert_eq!(listed["items"][0].get("value"), None);
    let rest = client.done("list", json!({ "space": "s", "after": "c", "values": true })).await;
    assert_eq!((&rest["items"][0]["value"], rest.get("next")), (&json!([1, null, "x"]), None));
    let log = client.done("log", json!({ "space": "s", "prefix": "a/", "limit": 2 })).await;
    assert_eq!((log["events"].as_array().unwrap().len(), &log["events"][0]["kind"]), (2, &"put".into()));
    let more = client.done("log", json!({ "space": "s", "from": log["next"], "values": false })).await;
    assert_eq!(more["events"].as_array().unwrap().last().unwrap()["key"], "a/b");
    let whole = client.done("snapshot", json!({ "space": "s", "level": "linearizable" })).await;
    let values: Vec<&Value> = whole["items"].as_array().unwrap().iter().map(|item| &item["value"]).collect();
    assert_eq!(values, [&json!({ "y": [2, 3] }), &json!(null), &json!([1, null, "x"])]);
    client.done("put", json!({ "space": "t", "key": "a", "value": 1 })).await;
    let spaces = client.done("spaces", json!({ "limit": 1 })).await;
    assert_eq!(
        (&spaces["spaces"][0]["name"], &spaces["spaces"][0]["keys"], &spaces["next"]),
        (&"s".into(), &3.into(), &"s".into())
    );
    assert_eq!(client.done("spaces", json!({ "after": "s" })).await["spaces"][0]["name"], "t");
    assert_eq!(client.done("drop", json!({ "space": "s" })).await, json!({ "dropped": true, "keys": 3 }));
    assert_eq!(client.done("drop", json!({ "space": "s" })).await, json!({ "dropped": false }));
    let left = client.done("spaces", json!({ "prefix": "s" })).await;
    assert_eq!((&left["spaces"], left.get("stale_ms")), (&json!([]), None));
}

#[tokio::test]
async fn values_keep_their_bytes() {
    let (contexts, _, _) = contexts();
    let client = Client::of(&contexts);
    let text = r#"{ "n": 123456789012345678901234567890, "f": 1.10 }"#;
    let params = format!(r#"{{"name":"put","arguments":{{"space":"s","key":"a","value":{text}}}}}"#);
    let call = UpstreamCall {
        call_id: Uuid::from_u128(7),
        principal: "ann".into(),
        method: Method::ToolsCall,
        params: Json::from_trusted(params),
        deadline: Instant::now() + Duration::from_secs(30),
        trace: None,
    };
    client.0.call(call).outcome().await.unwrap();
    let got =
        client.ask("ann", Method::ToolsCall, &json!({ "name": "get", "arguments": { "space": "s", "key": "a" } }));
    assert!(got.outcome().await.unwrap().as_str().contains(text));
    let read = client.result(Method::ResourcesRead, json!({ "uri": "ctx://s/a" })).await;
    assert_eq!(read["contents"][0]["text"], text);
}

#[tokio::test]
async fn failures_are_told_so_that_a_model_can_act() {
    let quotas = Quotas { value_bytes: 10, ..Quotas::default() };
    let (contexts, ledger, _) = contexts_with(|config| Config { quotas, ..config });
    let client = Client::of(&contexts);
    client.done("put", json!({ "space": "s", "key": "a", "value": 1 })).await;
    let (kind, text, data) =
        client.failed("put", json!({ "space": "s", "key": "a", "value": 2, "if_version": 9 })).await;
    assert_eq!((kind.as_str(), &data["version"], &data["writer"]["principal"]), ("conflict", &1.into(), &"ann".into()));
    assert!(text.contains("in version 1"), "{text}");
    let (kind, _, data) = client.failed("put", json!({ "space": "s", "key": "a", "value": "0123456789" })).await;
    assert_eq!((kind.as_str(), &data["quota"], &data["limit"]), ("quota_exceeded", &"value_bytes".into(), &10.into()));
    for (tool, arguments, part) in [
        ("get", json!({ "key": "a" }), "space: is missing"),
        ("get", json!({ "space": "s" }), "key: is missing"),
        ("get", json!({ "space": 5, "key": "a" }), "space: invalid type: integer `5`, expected a string"),
        ("get", json!({ "space": "a b", "key": "a" }), "space: invalid space name \"a b\""),
        ("get", json!({ "space": "s", "key": "" }), "key: invalid key"),
        ("get", json!({ "space": "s", "key": "a", "kee": 1 }), "kee: there is no such argument"),
        ("get", json!({ "space": "s", "key": "a", "level": "best" }), "level: there is no \"best\""),
        ("get", json!({ "space": "s", "key": "a", "level": "at_least" }), "at_least: is missing"),
        ("spaces", json!({ "at_least": 1 }), "at_least: does not go here"),
        ("get", json!({ "space": "s", "key": "a", "level": "local", "at_least": 1 }), "at_least: goes with no other"),
        ("put", json!({ "space": "s", "key": "a" }), "value: is missing"),
        ("put", json!({ "space": "s", "key": "a", "value": 1, "ttl_ms": -1 }), "ttl_ms: must be a whole number from 1"),
        ("put", json!({ "space": "s", "key": "a", "value": 1, "operation": "x" }), "operation: "),
        (
            "put",
            json!({ "space": "s", "key": "a", "value": 1, "if_version": 1, "if_absent": true }),
            "if_absent: does not",
        ),
        ("patch", json!({ "space": "s", "key": "a" }), "merge: is missing"),
        ("patch", json!({ "space": "s", "key": "a", "merge": {}, "steps": [] }), "steps: does not go"),
        ("append", json!({ "space": "s", "key": "a" }), "values: is missing"),
        ("txn", json!({ "space": "s" }), "operations: is missing"),
        ("txn", json!({ "space": "s", "operations": [] }), "a transaction needs an operation"),
        (
            "txn",
            json!({ "space": "s", "operations": [{ "op": "put", "key": "a" }] }),
            "operations[0].value: is missing",
        ),
        (
            "txn",
            json!({ "space": "s", "operations": [{ "op": "x", "key": "a" }] }),
            "operations[0].op: there is no \"x\"",
        ),
        (
            "txn",
            json!({ "space": "s", "operations": [{ "op": "delete", "key": "a", "value": 1 }] }),
            "operations[0].value: there is no such",
        ),
        ("txn", json!({ "space": "s", "operations": [3] }), "operations[0]: must be an object"),
        (
            "txn",
            json!({ "space": "s", "conditions": [{ "key": "a" }], "operations": [] }),
            "conditions[0].version: is missing",
        ),
    ] {
        let (kind, text, _) = client.failed(tool, arguments).await;
        assert_eq!(kind, "invalid_params");
        assert!(text.contains(part), "{text}: no \"{part}\"");
    }
    let (kind, _, data) = client.failed("append", json!({ "space": "s", "key": "a", "values": [1] })).await;
    assert_eq!((kind.as_str(), &data["exists"]), ("conflict", &true.into()));
    // What the broker is to blame for is no answer of a tool.
    ledger.set_state(ShardState::CutOff);
    let params = json!({ "name": "put", "arguments": { "space": "s", "key": "a", "value": 1 } });
    let error = client.ask("ann", Method::ToolsCall, &params).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let stale = client.done("get", json!({ "space": "s", "key": "a" })).await;
    assert_eq!(stale["stale_ms"], 1500);
    for (tool, arguments) in [
        ("list", json!({ "space": "s" })),
        ("log", json!({ "space": "s" })),
        ("snapshot", json!({ "space": "s" })),
        ("spaces", json!({})),
    ] {
        assert_eq!(client.done(tool, arguments).await["stale_ms"], 1500, "{tool}");
    }
}

#[tokio::test]
async fn a_write_may_be_repeated_under_its_operation() {
    let (contexts, ledger, _) = contexts();
    let client = Client::of(&contexts);
    let operation = Uuid::from_u128(42).to_string();
    let arguments = json!({ "space": "s", "key": "l", "values": [1], "operation": operation });
    ledger.loses_next.store(true, std::sync::atomic::Ordering::SeqCst);
    let (kind, _, data) = client.failed("append", arguments.clone()).await;
    assert_eq!((kind.as_str(), &data["operation"]), ("deadline_exceeded", &operation.clone().into()));
    assert_eq!(client.done("append", arguments.clone()).await["length"], 1);
    assert_eq!(client.done("append", arguments).await["length"], 1);
}

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused() {
    let (contexts, _, _) = contexts();
    let client = Client::of(&contexts);
    let value = format!("\"{}\"", "x".repeat(250 * 1024));
    for number in 0..17 {
        let transaction = Transaction::one(put(&format!("k{number}"), &value));
        ann(&contexts).write(&space("s"), transaction, options()).await.unwrap();
    }
    let (kind, text, _) = client.failed("snapshot", json!({ "space": "s" })).await;
    assert!(kind == "too_large" && text.contains("with list"), "{text}");
    let mut after = Value::Null;
    let mut keys = 0;
    loop {
        let mut asked = json!({ "space": "s", "values": true });
        if !after.is_null() {
            asked["after"] = after;
        }
        let page = client.done("list", asked).await;
        keys += page["items"].as_array().unwrap().len();
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(keys, 17);
}
