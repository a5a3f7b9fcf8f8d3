//! Tasks, in the form of the revision: the extension in 2026-07-28, the experiment in 2025-11-25.
//!
//! A task is `working` at first. `task_simple` completes when it is asked about for the second time, or waited for;
//! `task_asks` wants input at once and completes with it; `task_hangs` works until it is cancelled.

use std::sync::Arc;

use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};

use super::{
    error, is_modern, rounds,
    server::{Call, Server},
};

/// The name of the extension.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// When every task was created, and updated.
pub const CREATED_AT: &str = "2026-01-01T00:00:00Z";

/// One task.
#[derive(Debug, Clone)]
pub(super) struct Task {
    id: String,
    tag: String,
    kind: String,
    status: &'static str,
    asked_about: usize,
    result: Value,
}

impl Task {
    /// The task as its revision says it.
    fn shown(&self, revision: Revision) -> Value {
        let mut shown = json!({
            "taskId": self.id,
            "status": self.status,
            "statusMessage": format!("{} is {}", self.tag, self.status),
            "createdAt": CREATED_AT,
            "lastUpdatedAt": CREATED_AT,
        });
        let (ttl, poll) = if is_modern(revision) { ("ttlMs", "pollIntervalMs") } else { ("ttl", "pollInterval") };
        shown[ttl] = 60_000.into();
        shown[poll] = 10.into();
        shown
    }

    /// With the result or the questions, as `tasks/get` of the extension has it.
    fn detailed(&self, revision: Revision) -> Value {
        let mut shown = self.shown(revision);
        match self.status {
            "completed" => shown["result"] = self.result.clone(),
            "input_required" => {
                let asks = rounds("ask_form", &self.tag, revision).unwrap_or_default().remove(0);
                shown["inputRequests"] = json!({ asks[0].key: { "method": asks[0].method, "params": asks[0].params } });
            }
            _ => {}
        }
        shown
    }
}

fn done(tag: &str, answers: &Value) -> Value {
    let text = if answers.is_null() { format!("{tag} is done") } else { answers.to_string() };
    json!({ "content": [{ "type": "text", "text": text }], "isError": false })
}

/// A call of a tool that may be a task: one if the client can take it, else its result at once.
pub(super) fn start(server: &Server, call: &Call, kind: &str, tag: &str, revision: Revision) -> Result<Value, Value> {
    let modern = is_modern(revision);
    let wanted = if modern {
        call.params["_meta"][meta::CLIENT_CAPABILITIES]["extensions"].get(TASKS).is_some()
    } else {
        call.params.get("task").is_some()
    };
    if !wanted {
        return Ok(done(tag, &Value::Null));
    }
    let status = if kind == "task_asks" { "input_required" } else { "working" };
    let task = Task {
        id: format!("{kind}/{tag}"),
        tag: tag.to_owned(),
        kind: kind.to_owned(),
        status,
        asked_about: 0,
        result: Value::Null,
    };
    let mut shown = task.shown(revision);
    server.state().tasks.insert(task.id.clone(), task);
    if modern {
        shown["resultType"] = "task".into();
        Ok(shown)
    } else {
        Ok(json!({ "task": shown }))
    }
}

/// The methods about tasks.
pub(super) async fn answer(server: &Arc<Server>, call: &Call, revision: Revision) -> Result<Value, Value> {
    let unknown = || error(codes::INVALID_PARAMS, "no such task", Value::Null);
    let id = call.params["taskId"].as_str().unwrap_or_default();
    let change = |change: &dyn Fn(&mut Task)| {
        let mut state = server.state();
        let task = state.tasks.get_mut(id).ok_or_else(unknown)?;
        change(task);
        Ok::<Task, Value>(task.clone())
    };
    let modern = is_modern(revision);
    match call.method.as_str() {
        "tasks/get" => {
            let task = change(&|task| {
                task.asked_about += 1;
                if task.kind == "task_simple" && task.asked_about > 1 {
                    (task.status, task.result) = ("completed", done(&task.tag, &Value::Null));
                }
            })?;
            Ok(if modern { task.detailed(revision) } else { task.shown(revision) })
        }
        "tasks/update" if modern => {
            let answers = json!([call.params["inputResponses"]]);
            let task = change(&|task| (task.status, task.result) = ("completed", done(&task.tag, &answers)))?;
            server.tell("notifications/tasks", &task.detailed(revision));
            Ok(json!({}))
        }
        "tasks/cancel" => {
            let task = change(&|task| task.status = "cancelled")?;
            if modern {
                server.tell("notifications/tasks", &task.detailed(revision));
                return Ok(json!({}));
            }
            Ok(task.shown(revision))
        }
        "tasks/result" if !modern => result(server, call, change(&|_| {})?, revision).await,
        "tasks/list" if !modern => {
            let tasks: Vec<Value> = server.state().tasks.values().map(|task| task.shown(revision)).collect();
            Ok(json!({ "tasks": tasks }))
        }
        other => Err(error(codes::METHOD_NOT_FOUND, &format!("no method {other} here"), Value::Null)),
    }
}

/// 2025-11-25: waits for the result, and asks meanwhile what the task wants to know.
async fn result(server: &Arc<Server>, call: &Call, task: Task, revision: Revision) -> Result<Value, Value> {
    let related = json!({ "io.modelcontextprotocol/related-task": { "taskId": task.id } });
    if task.status == "completed" {
        let mut result = task.result;
        result["_meta"] = related;
        return Ok(result);
    }
    let answers = match task.kind.as_str() {
        "task_asks" => {
            let mut asks = rounds("ask_form", &task.tag, revision).unwrap_or_default().remove(0);
            let mut ask = asks.remove(0);
            ask.params["_meta"] = related.clone();
            let answer = server.ask_client(call, ask.method, ask.params).await;
            json!([{ ask.key: answer }])
        }
        "task_hangs" if task.status == "working" => std::future::pending().await,
        _ => Value::Null,
    };
    let mut result = done(&task.tag, &answers);
    if let Some(task) = server.state().tasks.get_mut(&task.id) {
        (task.status, task.result) = ("completed", result.clone());
    }
    result["_meta"] = related;
    Ok(result)
}
