//! What each server is asked, where the answer repeats: every list, calls of every shape, prompts, resources, completions.
//!
//! `gzip-file-as-resource` is left out: it adds a resource to the session, and behind the broker all clients share one.

use std::path::Path;

use serde_json::{Value, json};
use spanwire_tests::peers::call;

/// The operations for a server; `files` is the folder of the filesystem server.
pub(super) fn operations(server: &str, files: &Path) -> Vec<Value> {
    match server {
        "everything" => everything(),
        "fastmcp" => fastmcp(),
        "filesystem" => filesystem(files),
        "memory" => memory(),
        "rust" => rust(),
        other => panic!("no operations for {other}"),
    }
}

/// The same operation in the federated view.
pub(super) fn federated(op: &Value, server: &str) -> Value {
    let mut op = op.clone();
    let prefixed = |value: &mut Value, separator: &str| {
        let own = value.as_str().unwrap().to_owned();
        *value = json!(format!("{server}{separator}{own}"));
    };
    match op["op"].as_str().unwrap() {
        "call" | "get_prompt" => prefixed(&mut op["name"], "__"),
        "read" => prefixed(&mut op["uri"], "+"),
        "complete" if op["ref"].get("name").is_some() => prefixed(&mut op["ref"]["name"], "__"),
        "complete" => prefixed(&mut op["ref"]["uri"], "+"),
        _ => {}
    }
    op
}

fn list(what: &str) -> Value {
    json!({ "op": format!("list_{what}") })
}

fn read(uri: &str) -> Value {
    json!({ "op": "read", "uri": uri })
}

fn prompt(name: &str, arguments: Value) -> Value {
    json!({ "op": "get_prompt", "name": name, "arguments": arguments })
}

fn complete(prompt: &str, argument: &str, value: &str) -> Value {
    json!({
        "op": "complete",
        "ref": { "type": "ref/prompt", "name": prompt },
        "argument": { "name": argument, "value": value },
    })
}

fn with_progress(mut op: Value) -> Value {
    op["progress"] = json!(true);
    op
}

fn everything() -> Vec<Value> {
    let mut name = complete("completable-prompt", "name", "A");
    name["context"] = json!({ "arguments": { "department": "Engineering" } });
    vec![
        list("tools"),
        list("prompts"),
        list("resources"),
        list("templates"),
        call("echo", json!({ "message": "hi" })),
        call("get-sum", json!({ "a": 2, "b": 3 })),
        call("get-sum", json!({ "a": "no number" })),
        call("get-tiny-image", json!({})),
        call("get-structured-content", json!({ "location": "New York" })),
        call("get-annotated-message", json!({ "messageType": "error", "includeImage": true })),
        call("get-resource-links", json!({ "count": 3 })),
        with_progress(call("trigger-long-running-operation", json!({ "duration": 0.4, "steps": 4 }))),
        call("trigger-sampling-request", json!({ "prompt": "hello", "maxTokens": 10 })),
        call("trigger-elicitation-request", json!({})),
        prompt("simple-prompt", json!({})),
        prompt("args-prompt", json!({ "city": "Paris", "state": "TX" })),
        prompt("completable-prompt", json!({ "department": "Engineering", "name": "Alice" })),
        read("demo://resource/static/document/features.md"),
        read("demo://nosuch"),
        complete("completable-prompt", "department", "E"),
        name,
        json!({
            "op": "complete",
            "ref": { "type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}" },
            "argument": { "name": "resourceId", "value": "1" },
        }),
    ]
}

fn fastmcp() -> Vec<Value> {
    vec![
        list("tools"),
        list("prompts"),
        list("resources"),
        list("templates"),
        call("echo", json!({ "text": "hi" })),
        call("add", json!({ "a": 2, "b": 3 })),
        with_progress(call("slow", json!({ "seconds": 0.4, "steps": 4 }))),
        call("big", json!({ "bytes": 300_000 })),
        call("fail", json!({})),
        call("add", json!({ "a": "no number" })),
        prompt("greeting", json!({ "name": "Ann" })),
        prompt("review", json!({ "code": "x" })),
        read("static://text"),
        read("static://pixel.png"),
        read("city://Rome"),
        read("static://nosuch"),
        complete("greeting", "city", "p"),
    ]
}

fn filesystem(files: &Path) -> Vec<Value> {
    let path = |name: &str| files.join(name).to_string_lossy().into_owned();
    vec![
        list("tools"),
        call("read_text_file", json!({ "path": path("hello.txt") })),
        call("read_text_file", json!({ "path": "/etc/hostname" })),
        call("read_media_file", json!({ "path": path("pixel.png") })),
        call("read_multiple_files", json!({ "paths": [path("hello.txt"), path("notes/rome.txt")] })),
        call("list_directory", json!({ "path": path("") })),
        call("directory_tree", json!({ "path": path("") })),
        call("search_files", json!({ "path": path(""), "pattern": "*.txt" })),
        call("list_allowed_directories", json!({})),
        // The folder is shared by all clients: what is written is what was there.
        call("write_file", json!({ "path": path("hello.txt"), "content": "hello from a file\n" })),
        call(
            "edit_file",
            json!({ "path": path("notes/rome.txt"), "dryRun": true, "edits": [{ "oldText": "here", "newText": "there" }] }),
        ),
    ]
}

fn memory() -> Vec<Value> {
    let entity = |name: &str| json!({ "name": name, "entityType": "city", "observations": ["old"] });
    let relation = json!({ "from": "Rome", "to": "Paris", "relationType": "knows" });
    vec![
        list("tools"),
        list("resources"),
        call("create_entities", json!({ "entities": [entity("Rome"), entity("Paris")] })),
        call("create_relations", json!({ "relations": [relation] })),
        call("add_observations", json!({ "observations": [{ "entityName": "Rome", "contents": ["large"] }] })),
        call("read_graph", json!({})),
        call("search_nodes", json!({ "query": "large" })),
        call("open_nodes", json!({ "names": ["Paris"] })),
        read("memory://knowledge-graph"),
        call("delete_observations", json!({ "deletions": [{ "entityName": "Rome", "observations": ["old"] }] })),
        call("delete_relations", json!({ "relations": [relation] })),
        call("delete_entities", json!({ "entityNames": ["Rome", "Paris"] })),
    ]
}

fn rust() -> Vec<Value> {
    vec![
        list("tools"),
        list("prompts"),
        list("resources"),
        list("templates"),
        call("shout", json!({ "text": "hi" })),
        call("measure", json!({ "text": "four" })),
        call("refuse", json!({})),
        prompt("haiku", json!({ "topic": "rust" })),
        read("note://one"),
        read("note://nosuch"),
    ]
}
