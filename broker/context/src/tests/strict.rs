//! No tool takes what its schema does not publish: each argument of each tool, wrong in every way that its schema says.

use serde_json::{Value, json};
use spanwire_mcp::Method;

use super::{server::Client, service::contexts};

/// Arguments with which each tool does something.
fn good(tool: &str) -> Value {
    let read = json!({ "space": "s", "level": "at_least", "at_least": 1 });
    let with = |mut all: Value, more: Value| {
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    let id = "0b2c6ab4-29b9-4a07-b3a5-2b4b6a9a2e57";
    let write = json!({ "space": "s", "key": "k", "operation": id });
    match tool {
        "get" => with(read, json!({ "key": "k" })),
        "list" => with(read, json!({ "prefix": "k", "after": "a", "limit": 1, "values": true })),
        "log" => with(read, json!({ "prefix": "k", "from": 1, "limit": 1.0, "values": true })),
        "snapshot" => read,
        "spaces" => json!({ "prefix": "s", "after": "a", "limit": 1000, "level": "linearizable" }),
        "put" => with(write, json!({ "value": null, "ttl_ms": 1e9, "if_version": 1 })),
        "patch" => {
            let steps = json!([{ "op": "add", "path": "", "value": [1], "why": "unknown members are passed over" }]);
            with(write, json!({ "steps": steps, "if_absent": false }))
        }
        "append" => with(write, json!({ "values": [null], "if_absent": false })),
        "delete" => with(write, json!({ "if_absent": false })),
        "drop" => json!({ "space": "none", "operation": id }),
        "txn" => json!({
            "space": "s",
            "operation": id,
            "conditions": [{ "key": "k", "exists": true }, { "key": "none", "exists": false }],
            "operations": [{ "op": "put", "key": "k", "value": [], "ttl_ms": 60_000 }],
        }),
        other => panic!("no arguments for {other}"),
    }
}

/// The type of a property, and whether `null` is taken for none.
fn kind(schema: &Value) -> (Option<&str>, bool) {
    match schema["type"].as_array().map(Vec::as_slice) {
        Some([kind, null]) if null == "null" => (kind.as_str(), true),
        Some(other) => panic!("of the types {other:?}"),
        None => (schema["type"].as_str(), false),
    }
}

/// What is wrong for a property.
fn wrong(name: &str, schema: &Value) -> Vec<Value> {
    let (kind, takes_null) = kind(schema);
    let mut wrong = vec![json!({})];
    if !takes_null {
        wrong.push(json!(null));
    }
    match kind {
        Some("string") => {
            wrong.extend([json!(5), json!(true), json!([])]);
            if let Some(most) = schema["maxLength"].as_u64() {
                wrong.push(json!("x".repeat(usize::try_from(most).unwrap() + 1)));
            }
            if schema.get("minLength").or(schema.get("pattern")).is_some() {
                wrong.extend([json!(""), json!("a\nb")]);
            }
            if schema.get("enum").is_some() {
                wrong.push(json!("best"));
            }
            if schema["format"] == "uuid" {
                wrong.extend([json!("0b2c6ab429b94a07b3a52b4b6a9a2e57"), json!("x")]);
            }
        }
        Some("integer") => {
            let (least, most) = (schema["minimum"].as_i64().unwrap(), schema["maximum"].as_u64().unwrap());
            wrong.extend([
                json!(least - 1),
                json!(most + 1),
                json!(-1),
                json!(1.5),
                json!(1e30),
                json!("1"),
                json!(true),
            ]);
        }
        Some("boolean") => wrong.extend([json!(1), json!("true"), json!([])]),
        Some("array") => {
            wrong.extend([json!(1), json!("[]")]);
            if schema["minItems"] == 1 {
                wrong.push(json!([]));
            }
            if schema["items"].get("anyOf").is_some() {
                wrong.extend([json!([5]), json!([null]), json!([{}])]);
            }
            if let Some(most) = schema["maxItems"].as_u64() {
                wrong.push(json!(vec![json!({}); usize::try_from(most).unwrap() + 1]));
            }
        }
        _ if ["value", "merge"].contains(&name) => wrong.clear(),
        other => panic!("{name} is of type {other:?}"),
    }
    wrong
}

#[tokio::test]
async fn no_tool_takes_what_its_schema_does_not_publish() {
    let (contexts, ledger, _) = contexts();
    let client = Client::of(&contexts);
    let (is_done, _) = client.tool_by("ann", "put", json!({ "space": "s", "key": "k", "value": [] })).await;
    assert!(is_done);
    let listed = client.result(Method::ToolsList, json!({})).await;
    let tools = listed["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 11);
    for tool in tools {
        let (name, schema) = (tool["name"].as_str().unwrap(), &tool["inputSchema"]);
        assert_eq!(schema["additionalProperties"], false, "{name}");
        let refused = async |argument: &str, arguments: &Value| {
            let before = ledger.entries(crate::Contexts::shard_of(&super::space("s"))).len();
            let (is_done, shown) = client.tool_by("ann", name, arguments.clone()).await;
            assert!(!is_done, "{name} took {arguments}: {shown}");
            assert_eq!(shown["kind"], "invalid_params", "{name} {arguments}: {shown}");
            let text = shown["text"].as_str().unwrap();
            assert!(text.starts_with(argument), "{name} {arguments}: {text}");
            // Nothing of it gets into the log.
            assert_eq!(
                ledger.entries(crate::Contexts::shard_of(&super::space("s"))).len(),
                before,
                "{name} {arguments}"
            );
        };
        let mut unknown = good(name);
        unknown["if_vresion"] = json!(1);
        refused("if_vresion: there is no such argument", &unknown).await;
        for (argument, schema) in schema["properties"].as_object().unwrap() {
            for value in wrong(argument, schema) {
                let mut arguments = good(name);
                // Steps go without it.
                if argument == "merge" {
                    arguments.as_object_mut().unwrap().remove("steps");
                }
                arguments[argument] = value;
                refused(argument, &arguments).await;
            }
        }
        for required in schema["required"].as_array().unwrap() {
            let mut arguments = good(name);
            let argument = required.as_str().unwrap();
            arguments.as_object_mut().unwrap().remove(argument);
            refused(&format!("{argument}: is missing"), &arguments).await;
        }
    }
    // What was right above is right.
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        let (is_done, shown) = client.tool_by("ann", name, good(name)).await;
        assert!(is_done || shown["kind"] == "conflict", "{name} {}: {shown}", good(name));
    }
}

#[tokio::test]
async fn what_is_wrong_deep_inside_is_named_by_its_path() {
    let (contexts, ledger, _) = contexts();
    let client = Client::of(&contexts);
    let operation =
        |operation: Value| json!({ "space": "s", "operations": [{ "op": "delete", "key": "a" }, operation] });
    let condition = |condition: Value| json!({ "space": "s", "conditions": [condition], "operations": [{ "op": "delete", "key": "a" }] });
    let steps = |steps: Value| json!({ "space": "s", "key": "k", "steps": steps });
    for (tool, arguments, expected) in [
        (
            "txn",
            operation(json!({ "op": "put", "key": "k", "value": 1, "ttl_ms": 0 })),
            "operations[1].ttl_ms: must be",
        ),
        ("txn", operation(json!({ "op": "put", "key": "k", "value": 1, "ttl": 5 })), "operations[1].ttl: there is no"),
        ("txn", operation(json!({ "op": "put", "key": "", "value": 1 })), "operations[1].key: invalid key"),
        ("txn", operation(json!({ "op": "put", "key": "k" })), "operations[1].value: is missing"),
        ("txn", operation(json!({ "op": "delete", "key": "k", "if_version": 1 })), "operations[1].if_version: there"),
        ("txn", operation(json!({ "op": "append", "key": "k", "values": [] })), "operations[1].values: must have"),
        ("txn", operation(json!({ "op": "append", "key": "k", "values": 1 })), "operations[1].values: invalid type"),
        ("txn", operation(json!({ "op": "drop", "key": "k" })), "operations[1].op: there is no \"drop\""),
        ("txn", operation(json!({ "key": "k" })), "operations[1].op: is missing"),
        (
            "txn",
            operation(json!({ "op": "patch", "key": "k", "steps": [{ "op": "add", "path": "/x" }] })),
            "operations[1].steps[0].value: is missing",
        ),
        ("txn", condition(json!({ "key": "k", "version": 0 })), "conditions[0].version: must be"),
        ("txn", condition(json!({ "key": "k", "version": null })), "conditions[0].version: must be"),
        ("txn", condition(json!({ "key": "k", "exists": "no" })), "conditions[0].exists: invalid type"),
        ("txn", condition(json!({ "key": "k", "exists": true, "is": 1 })), "conditions[0].is: there is no"),
        ("txn", condition(json!({ "exists": true })), "conditions[0].key: is missing"),
        ("patch", steps(json!([{ "op": "test", "path": "/x" }])), "steps[0].value: is missing"),
        ("patch", steps(json!([{ "op": "copy", "path": "/x" }])), "steps[0].from: is missing"),
        ("patch", steps(json!([{ "op": "remove", "path": "x" }])), "steps[0].path: must be a JSON pointer"),
        ("patch", steps(json!([{ "op": "remove", "path": "/~2" }])), "steps[0].path: must be a JSON pointer"),
        ("patch", steps(json!([{ "op": "inc", "path": "/x" }])), "steps[0].op: there is no \"inc\""),
    ] {
        let (is_done, shown) = client.tool_by("ann", tool, arguments.clone()).await;
        assert_eq!((is_done, &shown["kind"]), (false, &"invalid_params".into()), "{arguments}: {shown}");
        let text = shown["text"].as_str().unwrap();
        assert!(text.starts_with(expected), "{arguments}: {text}");
    }
    assert!(ledger.entries(crate::Contexts::shard_of(&super::space("s"))).is_empty());
}

#[tokio::test]
async fn the_work_and_the_words_of_a_refusal_are_bounded() {
    let (contexts, _, _) = contexts();
    let client = Client::of(&contexts);
    let members = |count: usize| -> Value { (0..count).map(|n| (format!("m{n}"), json!(0))).collect() };
    let with = |mut object: Value, more: Value| {
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let long = "x".repeat(1_000_000);
    let step = |step: Value| json!({ "space": "s", "key": "k", "steps": [step] });
    let add = json!({ "op": "add", "path": "", "value": 1 });
    let operation = |operation: Value| json!({ "space": "s", "operations": [operation] });
    for (tool, arguments, expected) in [
        ("get", members(65), "the arguments: has 65 members, the limit is 64"),
        // Compared with one another, these would take hours.
        ("get", members(1_000_000), "the arguments: has 1000000 members, the limit is 64"),
        ("patch", step(with(add.clone(), members(62))), "steps[0]: has 65 members, the limit is 64"),
        ("txn", operation(members(65)), "operations[0]: has 65 members, the limit is 64"),
        ("txn", json!({ "space": "s", "operations": vec![0; 1_000_000] }), "operations: has 1000000 entries, the"),
        ("get", json!({ "space": "s", "key": "k", (long.clone()): 1 }), "xxx"),
        ("get", json!({ "space": "s", "key": "k", "level": long }), "level: there is no \"xxx"),
        ("get", json!({ "space": long, "key": "k" }), "space: invalid space name \"xxx"),
        ("list", json!({ "space": "s", "values": long }), "values: invalid type: string \"xxx"),
        ("append", json!({ "space": "s", "key": "k", "values": long }), "values: invalid type: string \"xxx"),
        ("txn", operation(json!({ "op": long, "key": "k" })), "operations[0].op: there is no \"xxx"),
        ("patch", step(with(add.clone(), json!({ "op": long }))), "steps[0].op: there is no \"xxx"),
        ("patch", step(with(add.clone(), json!({ "path": long }))), "steps[0].path: must be a JSON pointer"),
    ] {
        let (is_done, shown) = client.tool_by("ann", tool, arguments).await;
        let text = shown["text"].as_str().unwrap();
        assert!(!is_done && text.starts_with(expected), "{tool}: {text}, not {expected}");
        assert!(text.len() < 200 && !text.contains(&"x".repeat(81)), "{tool}: {text}");
    }
    // What is expected is said, however long what came is.
    let (_, shown) = client.tool_by("ann", "list", json!({ "space": "s", "values": "x".repeat(200) })).await;
    assert!(shown["text"].as_str().unwrap().ends_with("xx, expected a boolean"), "{shown}");
    let (is_done, shown) =
        client.tool_by("ann", "put", json!({ "space": "s", "key": "k", "value": members(1000) })).await;
    assert!(is_done, "{shown}");
    let (is_done, shown) = client.tool_by("ann", "patch", step(with(add, members(61)))).await;
    assert!(is_done, "{shown}");
    let twice = format!(r#"{{"name":"get","arguments":{{"{0}":1,"{0}":2}}}}"#, "x".repeat(1000));
    let params = spanwire_mcp::Json::from_trusted(twice);
    let result = client.ask_raw("ann", Method::ToolsCall, params).outcome().await.unwrap().to_value();
    assert_eq!(result["structuredContent"]["text"], format!("{}: comes twice", "x".repeat(80)));
}

#[tokio::test]
async fn what_a_host_fills_in_with_null_is_as_if_it_were_not_there() {
    let (contexts, _, _) = contexts();
    let client = Client::of(&contexts);
    for key in ["k", "l"] {
        let (is_done, _) = client.tool_by("ann", "put", json!({ "space": "s", "key": key, "value": [] })).await;
        assert!(is_done);
    }
    let listed = client.result(Method::ToolsList, json!({})).await;
    for tool in listed["tools"].as_array().unwrap() {
        let (name, schema) = (tool["name"].as_str().unwrap(), &tool["inputSchema"]);
        let is_read = tool["annotations"]["readOnlyHint"].as_bool().unwrap();
        let is_required = |name: &str| schema["required"].as_array().unwrap().iter().any(|required| required == name);
        let mut needed: Value = json!({});
        let mut filled: Value = json!({});
        for (argument, schema) in schema["properties"].as_object().unwrap() {
            if is_required(argument) {
                needed[argument] = good(name)[argument].clone();
                filled[argument] = good(name)[argument].clone();
            } else if is_read || ["ttl_ms", "operation"].contains(&argument.as_str()) {
                assert!(kind(schema).1, "{name}: {argument}");
                filled[argument] = json!(null);
            } else {
                // It is a condition, or null is a value of it.
                assert!(schema.get("type").is_none() || !kind(schema).1, "{name}: {argument}");
            }
        }
        if name == "patch" {
            (needed["merge"], filled["merge"]) = (json!({}), json!({}));
        }
        let (is_done, shown) = client.tool_by("ann", name, needed).await;
        assert!(is_done, "{name}: {shown}");
        let (is_done, with_null) = client.tool_by("ann", name, filled.clone()).await;
        assert!(is_done, "{name} {filled}: {with_null}");
        if is_read {
            assert_eq!(with_null, shown, "{name} {filled}");
        }
        // What nobody knows is not taken, whatever it is.
        filled["other"] = json!(null);
        let (is_done, shown) = client.tool_by("ann", name, filled).await;
        assert!(!is_done && shown["text"] == "other: there is no such argument here", "{name}: {shown}");
    }
    let put = json!({ "space": "s", "key": "stays", "value": 1, "ttl_ms": null });
    assert!(client.tool_by("ann", "put", put).await.0);
    let got = client.tool_by("ann", "get", json!({ "space": "s", "key": "stays" })).await.1;
    assert!(got["found"] == true && got["item"].get("due_ms").is_none(), "{got}");
    for (tool, arguments, text) in [
        ("get", json!({ "space": "s", "key": "k", "level": "at_least", "at_least": null }), "at_least: is missing"),
        ("get", json!({ "space": "s", "key": null }), "key: is missing"),
        ("spaces", json!({ "level": "at_least" }), "level: at_least does not go here: a sequence is one space's"),
        ("spaces", json!({ "level": "at_least", "at_least": 1 }), "level: at_least does not go here"),
        ("spaces", json!({ "at_least": null }), "at_least: does not go here"),
        ("put", json!({ "space": "s", "key": "k", "value": 1, "if_version": null }), "if_version: must be"),
        ("put", json!({ "space": "s", "key": "k", "value": 1, "if_absent": null }), "if_absent: invalid type: null"),
        ("txn", json!({ "space": "s", "conditions": null, "operations": [] }), "conditions: invalid type: null"),
    ] {
        let (is_done, shown) = client.tool_by("ann", tool, arguments).await;
        assert!(!is_done && shown["text"].as_str().unwrap().starts_with(text), "{tool}: {shown}, not {text}");
    }
}
