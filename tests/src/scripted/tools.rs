//! What each tool, prompt and resource of a scripted server does.

use std::sync::Arc;

use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};

use super::{
    asks, content, error, is_modern, rounds,
    server::{Call, Server},
    tag_in,
    tape::Way,
    tasks,
};

/// The levels of log messages, least severe first.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

fn text(text: impl Into<String>) -> Value {
    json!({ "content": [{ "type": "text", "text": text.into() }] })
}

/// `tools/call`.
pub(super) async fn call(server: &Arc<Server>, call: &Call) -> Result<Value, Value> {
    let (name, arguments) = (call.params["name"].as_str().unwrap_or_default(), &call.params["arguments"]);
    let tag = arguments["tag"].as_str().unwrap_or_default();
    let revision = server.revision_of(call);
    if rounds(name, tag, revision).is_some() {
        return asked(asks::ask(server, call, name, tag).await, |answers| text(answers.to_string()));
    }
    match name {
        "echo" => Ok(json!({
            "content": [{ "type": "text", "text": arguments.to_string() }],
            "isError": false,
            "x-unknown": { "kept": tag },
            "_meta": { "x.test/result": tag },
        })),
        "fail" => Ok(json!({ "content": [{ "type": "text", "text": format!("{tag} failed") }], "isError": true })),
        "refuse" => Err(error(-32007, &format!("not for {tag}"), json!({ "tag": tag, "why": [1, null] }))),
        "structured" => {
            let mut result = text(content::structured(tag).to_string());
            if revision >= Revision::V2025_06_18 {
                result["structuredContent"] = content::structured(tag);
            }
            Ok(result)
        }
        "content_all_kinds" => Ok(json!({ "content": content::blocks(tag, revision) })),
        "headers" => {
            let head = call.link.head.as_object().cloned().unwrap_or_default();
            let params = head.into_iter().filter(|(name, _)| name.starts_with("mcp-param-"));
            Ok(text(Value::Object(params.collect()).to_string()))
        }
        "progress" => {
            progress(server, call, tag, revision);
            Ok(text("done"))
        }
        "log_levels" => {
            log(server, call, tag);
            Ok(text("logged"))
        }
        "hold" => {
            progress_once(server, call, tag);
            let held = server.state().hold(tag);
            held.cancelled().await;
            log(server, call, tag);
            Ok(text(format!("{tag} was held")))
        }
        "release" => {
            server.state().hold(tag).cancel();
            Ok(text("released"))
        }
        "slow_until_cancelled" => {
            progress_once(server, call, tag);
            std::future::pending().await
        }
        "ping_client" if is_modern(revision) => Ok(text("there is no ping")),
        "ping_client" => Ok(text(server.ask_client(call, "ping", Value::Null).await.to_string())),
        "update_resource" => {
            server.tell("notifications/resources/updated", &json!({ "uri": arguments["uri"] }));
            Ok(text("updated"))
        }
        "change_list" => Ok(change_list(server, arguments)),
        "task_simple" | "task_asks" | "task_hangs" => tasks::start(server, call, name, tag, revision),
        "panel" => Ok(text("shown")),
        other => Err(error(codes::INVALID_PARAMS, &format!("no tool {other} here"), Value::Null)),
    }
}

fn asked(outcome: Result<Value, Result<Value, Value>>, done: impl FnOnce(Value) -> Value) -> Result<Value, Value> {
    match outcome {
        Ok(answers) => Ok(done(answers)),
        Err(outcome) => outcome,
    }
}

fn change_list(server: &Server, arguments: &Value) -> Value {
    let list = arguments["list"].as_str().unwrap_or_default().to_owned();
    let entry = (list.clone(), arguments["name"].as_str().unwrap_or_default().to_owned());
    if arguments["remove"] == true {
        server.state().added.remove(&entry);
    } else {
        server.state().added.insert(entry);
    }
    server.tell(&format!("notifications/{list}/list_changed"), &Value::Null);
    text("changed")
}

fn progress_once(server: &Server, call: &Call, tag: &str) {
    server.recorder.note(Way::Event, call.link.number, &json!({}), &json!({ "started": tag }));
    if let Some(token) = call.params["_meta"].get(meta::PROGRESS_TOKEN) {
        server.notify(call, "notifications/progress", json!({ "progressToken": token, "progress": 0.5 }));
    }
}

fn progress(server: &Server, call: &Call, tag: &str, revision: Revision) {
    let Some(token) = call.params["_meta"].get(meta::PROGRESS_TOKEN) else { return };
    for step in 1..=3 {
        let mut params = json!({ "progressToken": token, "progress": step, "total": 3 });
        if revision >= Revision::V2025_03_26 {
            params["message"] = format!("step {step} of {tag}").into();
        }
        server.notify(call, "notifications/progress", params);
    }
}

/// A message of each level that the client wants.
fn log(server: &Server, call: &Call, tag: &str) {
    let wanted = if is_modern(server.revision_of(call)) {
        call.params["_meta"][meta::LOG_LEVEL].as_str().map(str::to_owned)
    } else {
        server.state().link(call.link.number).map(|session| session.level.clone())
    };
    let least = wanted.and_then(|wanted| LEVELS.iter().position(|level| *level == wanted));
    for level in LEVELS.iter().skip(least.unwrap_or(LEVELS.len())) {
        let params = json!({ "level": level, "logger": "scripted", "data": { "tag": tag, "at": level } });
        server.notify(call, "notifications/message", params);
    }
}

/// `prompts/get`.
pub(super) async fn prompt(server: &Arc<Server>, call: &Call) -> Result<Value, Value> {
    let (name, arguments) = (call.params["name"].as_str().unwrap_or_default(), &call.params["arguments"]);
    let tag = arguments["tag"].as_str().unwrap_or_default();
    let message = |content: Value| json!({ "role": "user", "content": content });
    match name {
        "plain" => {
            let blocks = content::blocks(tag, server.revision_of(call));
            let messages: Vec<Value> = blocks.into_iter().map(message).collect();
            Ok(json!({ "description": format!("prompt of {tag}"), "messages": messages }))
        }
        "ask_prompt" => asked(
            asks::ask(server, call, name, tag).await,
            |answers| json!({ "messages": [message(json!({ "type": "text", "text": answers.to_string() }))] }),
        ),
        other => Err(error(codes::INVALID_PARAMS, &format!("no prompt {other} here"), Value::Null)),
    }
}

/// `resources/read`.
pub(super) async fn read(server: &Arc<Server>, call: &Call) -> Result<Value, Value> {
    let uri = call.params["uri"].as_str().unwrap_or_default();
    let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "note" | "watch" | "ui" => Ok(json!({ "contents": content::note(uri) })),
        "ask-resource" => {
            let tag = tag_in(&call.params["uri"]).unwrap_or_default();
            asked(
                asks::ask(server, call, "ask_resource", &tag).await,
                |answers| json!({ "contents": [{ "uri": uri, "mimeType": "application/json", "text": answers.to_string() }] }),
            )
        }
        _ => {
            let modern = is_modern(server.revision_of(call));
            let code = if modern { codes::INVALID_PARAMS } else { codes::LEGACY_RESOURCE_NOT_FOUND };
            Err(error(code, "Resource not found", json!({ "uri": uri })))
        }
    }
}
