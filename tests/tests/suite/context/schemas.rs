//! What the tools publish is what they do: a JSON Schema library and the node judge the same arguments alike, and find the results in order.

use std::process::Stdio;

use serde_json::{Value, json};
use spanwire_tests::{node::Caller, peers::Peers};
use tokio::{io::AsyncWriteExt, process::Command};

use super::world::World;

/// The judge.
const SCRIPT: &str = include_str!("schemas.py");

/// Arguments with which each tool does something.
fn good() -> Vec<(&'static str, Value)> {
    let id = "0b2c6ab4-29b9-4a07-b3a5-2b4b6a9a2e57";
    let operations = json!([
        { "op": "put", "key": "t", "value": { "n": 1 }, "ttl_ms": 3_600_000 },
        { "op": "append", "key": "l", "values": [1] },
        { "op": "patch", "key": "d", "merge": { "a": 1 } },
        { "op": "patch", "key": "e", "steps": [] },
        { "op": "delete", "key": "none" },
    ]);
    vec![
        ("put", json!({ "space": "s", "key": "k", "value": [1], "ttl_ms": 3_600_000, "operation": id })),
        ("put", json!({ "space": "s", "key": "k", "value": [1], "if_version": 1, "operation": id })),
        ("put", json!({ "space": "s", "key": "e", "value": 1, "if_absent": false })),
        ("append", json!({ "space": "s", "key": "k", "values": [2], "if_absent": false })),
        ("patch", json!({ "space": "s", "key": "d", "merge": { "a": 1 } })),
        ("patch", json!({ "space": "s", "key": "e", "steps": [{ "op": "replace", "path": "", "value": 2 }] })),
        ("get", json!({ "space": "s", "key": "k", "level": "at_least", "at_least": 1 })),
        (
            "list",
            json!({ "space": "s", "prefix": "k", "after": "a", "limit": 5, "values": true, "level": "linearizable" }),
        ),
        ("log", json!({ "space": "s", "prefix": "k", "from": 0, "limit": 5, "values": true, "level": "local" })),
        ("snapshot", json!({ "space": "s", "level": "local" })),
        ("get", json!({ "space": "s", "key": "k", "level": "local", "at_least": null })),
        ("get", json!({ "space": "s", "key": "k", "level": null, "at_least": 1 })),
        ("list", json!({ "space": "s", "prefix": null, "after": null, "limit": null, "values": null })),
        ("spaces", json!({ "prefix": "", "after": "a", "limit": 5, "level": "local" })),
        ("txn", json!({ "space": "s", "conditions": [{ "key": "k", "exists": true }], "operations": operations })),
        ("delete", json!({ "space": "s", "key": "k", "if_version": 1 })),
        ("drop", json!({ "space": "none", "operation": id })),
    ]
}

/// What is put in the place of each argument in turn.
fn strange() -> Vec<Value> {
    let texts =
        ["", "x", "a\nb", "a b", "local", "at_least", "linearizable", "best", "0B2C6AB4-29b9-4a07-b3a5-2b4b6a9a2e57"];
    let mut all: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    all.extend([json!("x".repeat(513)), json!("0b2c6ab429b94a07b3a52b4b6a9a2e57")]);
    all.extend([json!(null), json!(true), json!(false), json!({}), json!([]), json!([1]), json!([{}]), json!([null])]);
    all.extend([json!(0), json!(1), json!(1.0), json!(-1), json!(1.5), json!(1001), json!(1_u64 << 53), json!(1e30)]);
    all
}

/// Entries of `txn`, and steps, each with whether something is wrong for a library to say.
fn deep() -> Vec<(&'static str, Value)> {
    let operation = |operation: Value| ("txn", json!({ "space": "s", "operations": [operation] }));
    let condition = |condition: Value| {
        let operations = json!([{ "op": "delete", "key": "none" }]);
        ("txn", json!({ "space": "s", "conditions": [condition], "operations": operations }))
    };
    let step = |step: Value| ("patch", json!({ "space": "s", "key": "e", "steps": [step] }));
    let mut all = vec![
        operation(json!({ "op": "put", "key": "t", "value": null })),
        operation(json!({ "op": "put", "key": "t" })),
        operation(json!({ "op": "put", "key": "t", "value": 1, "ttl_ms": 0 })),
        operation(json!({ "op": "put", "key": "t", "value": 1, "ttl_ms": null })),
        operation(json!({ "op": "put", "key": "t", "value": 1, "ttl": 5 })),
        operation(json!({ "op": "delete", "key": "t", "value": 1 })),
        operation(json!({ "op": "delete", "key": "" })),
        operation(json!({ "op": "append", "key": "l", "values": [] })),
        operation(json!({ "op": "patch", "key": "d" })),
        operation(json!({ "op": "patch", "key": "d", "merge": {}, "steps": [] })),
        operation(json!({ "op": "patch", "key": "d", "merge": {}, "ttl_ms": 5 })),
        operation(json!({ "op": "drop", "key": "d" })),
        operation(json!({ "key": "d" })),
        condition(json!({ "key": "k", "version": 1, "exists": true })),
        condition(json!({ "key": "k", "version": 1, "exists": false })),
        condition(json!({ "key": "k", "version": 0 })),
        condition(json!({ "key": "k", "version": null })),
        condition(json!({ "key": "k", "exists": null })),
        condition(json!({ "key": "k" })),
        condition(json!({ "key": "k", "exists": false, "is": 1 })),
        step(json!({ "op": "test", "path": "", "value": 2, "why": "passed over" })),
        step(json!({ "op": "test", "path": "" })),
        step(json!({ "op": "copy", "path": "/x" })),
        step(json!({ "op": "copy", "path": "/x", "from": "/~1" })),
        step(json!({ "op": "copy", "path": "/x", "from": "/~2" })),
        step(json!({ "op": "add", "path": "/x", "from": 5, "value": 1 })),
        step(json!({ "op": "remove", "path": "x" })),
        step(json!({ "op": "inc", "path": "/x" })),
    ];
    let many = |count: usize| {
        let operations: Vec<Value> = (0..count).map(|n| json!({ "op": "delete", "key": format!("n{n}") })).collect();
        ("txn", json!({ "space": "s", "operations": operations }))
    };
    all.extend([many(128), many(129)]);
    all
}

/// All arguments that are tried.
fn arguments(tools: &[Value]) -> Vec<(&'static str, Value)> {
    let mut all = good();
    all.extend(deep());
    for (tool, good) in good() {
        let listed = tools.iter().find(|listed| listed["name"] == tool).unwrap();
        let names = listed["inputSchema"]["properties"].as_object().unwrap().keys();
        for name in names.map(String::as_str).chain(["unknown"]) {
            let mut without = good.clone();
            without.as_object_mut().unwrap().remove(name);
            all.push((tool, without));
            // A sequence that is to come is waited for.
            let fits = |value: &Value| name != "at_least" || *value != json!(1001);
            for value in strange().into_iter().filter(fits) {
                let mut arguments = good.clone();
                arguments[name] = value;
                all.push((tool, arguments));
            }
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tools_publish_is_what_they_do() {
    let world = World::alone("").await;
    // A view of one server shows it under its own names.
    let caller = Caller::new(world.first().mcp_url("context"));
    let listed = caller.ask("tools/list", json!({})).await.unwrap();
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}")).clone();
    // Wherever is read at least up to sequence 1, there is one.
    for space in strange().iter().filter(|value| value.is_string()) {
        caller.call("put", json!({ "space": space, "key": "k", "value": 1 })).await.unwrap();
    }
    let arguments = arguments(&tools);
    let (mut taken, mut results) = (Vec::new(), Vec::new());
    for (tool, arguments) in &arguments {
        let answer = caller.call(tool, arguments.clone()).await.unwrap();
        let shown = &answer["result"]["structuredContent"];
        assert!(shown.is_object(), "{tool} {arguments}: {answer}");
        taken.push(shown["kind"] != "invalid_params");
        results.push((tool, shown.clone()));
    }
    for (number, (tool, arguments)) in good().iter().enumerate() {
        let (_, shown) = &results[number];
        assert!(shown.get("kind").is_none() || shown["kind"] == "conflict", "{tool} {arguments}: {shown}");
    }

    let asked = json!({ "tools": tools, "arguments": arguments, "results": results }).to_string();
    let mut judge = Command::new(Peers::find().unwrap().python())
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = judge.stdin.take().unwrap();
    stdin.write_all(asked.as_bytes()).await.unwrap();
    drop(stdin);
    let output = judge.wait_with_output().await.unwrap();
    assert!(output.status.success(), "the judge failed");
    let judged: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (number, (tool, arguments)) in arguments.iter().enumerate() {
        let (_, shown) = &results[number];
        assert_eq!(judged["arguments"][number], taken[number], "{tool} {arguments}: {shown}");
        assert_eq!(judged["results"][number], Value::Null, "{tool} {arguments}: {shown}");
    }
}
