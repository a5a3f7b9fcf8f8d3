//! What a server of 2025-11-25 says of tasks, as the extension has it.

use spanwire_mcp::{ErrorObject, Json, ObjectWriter, input::InputRequest, string_literal, tasks};
use spanwire_model::{Error, ErrorKind, Outcome};

use super::{Status, bad_task, id_of, unrelated, whole_ms};

/// What stands in a task besides its own members.
#[derive(Debug)]
pub(crate) enum Detail {
    /// Nothing: it is in work or cancelled.
    None,
    /// What the server asks of the client.
    Requests(Vec<InputRequest>),
    /// The result of the call.
    Result(Json),
    /// The error of the call.
    Error(ErrorObject),
}

/// The capabilities as 2026-07-28 has them, when they offer tasks for tool calls; `None` when they do not. Only 2025-11-25
/// means these by `tasks`.
pub(crate) fn capabilities(declared: &Json) -> Option<Json> {
    let calls = declared.get("tasks")?.get("requests")?.get("tools")?.get("call")?;
    if !calls.is_object() {
        return None;
    }
    let extensions = declared.get("extensions").filter(Json::is_object).unwrap_or_else(Json::empty_object);
    let extensions = extensions.with(&[(tasks::EXTENSION, b"{}")], &[]);
    Some(declared.with(&[("extensions", extensions.as_bytes())], &["tasks"]))
}

/// `CreateTaskResult`; `None` when the result is the call's own. `resultType`, if it is there already, is replaced.
pub(crate) fn created(result: &Json) -> Option<Result<Json, Error>> {
    let task = result.get("task").filter(|task| task.is_object() && task.get("taskId").is_some())?;
    Some(flat(result, &task))
}

fn flat(result: &Json, task: &Json) -> Result<Json, Error> {
    Status::of(task)?;
    let mut out = ObjectWriter::with_capacity(result.len() + 64);
    out.member("resultType", b"\"task\"");
    members(&mut out, task, &["resultType", "_meta"])?;
    // What stands beside the task: the hint for the model in `_meta`, for one.
    for entry in result.entries() {
        let told = entry.has_key("resultType") || entry.has_key("task") || entry.has_key("_meta");
        if !told && task.get(&entry.key()).is_none() {
            out.raw_member(entry.raw_key, entry.value);
        }
    }
    let both = match (task.get("_meta").filter(Json::is_object), result.get("_meta").filter(Json::is_object)) {
        (Some(inner), Some(outer)) => {
            let outer: Vec<(String, &[u8])> = outer.entries().map(|entry| (entry.key(), entry.value)).collect();
            let outer: Vec<(&str, &[u8])> = outer.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            Some(inner.with(&outer, &[]))
        }
        (one, other) => one.or(other),
    };
    if let Some(meta) = both {
        out.member("_meta", meta.as_bytes());
    }
    Ok(unrelated(&out.finish()))
}

/// A task with what `tasks/get` and `notifications/tasks` add to it.
pub(crate) fn detailed(task: &Json, status: Status, detail: &Detail) -> Result<Json, Error> {
    let mut out = ObjectWriter::with_capacity(task.len() + 256);
    members(&mut out, task, &["resultType", "status", "result", "error", "inputRequests"])?;
    out.member("status", status.literal().as_bytes());
    match detail {
        Detail::None => {}
        Detail::Requests(requests) => out.member("inputRequests", input_requests(requests).as_bytes()),
        Detail::Result(result) => out.member("result", result.as_bytes()),
        Detail::Error(error) => out.member("error", error_object(error).as_bytes()),
    }
    Ok(unrelated(&out.finish()))
}

/// The result of `tasks/get`.
pub(crate) fn got(detailed: &Json) -> Json {
    let mut out = ObjectWriter::with_capacity(detailed.len() + 32);
    out.member("resultType", b"\"complete\"");
    for entry in detailed.entries() {
        out.raw_member(entry.raw_key, entry.value);
    }
    out.finish()
}

/// A task that is completed or failed, with what `tasks/result` said. An error that is not the task's own is passed on.
pub(crate) fn finished(task: &Json, outcome: Outcome) -> Result<Json, Error> {
    match outcome {
        // Whatever 2025-11-25 calls it, a result is no JSON-RPC error (ext-tasks, "Task Execution Errors").
        Ok(result) if result.is_object() => {
            detailed(task, Status::Completed, &Detail::Result(unrelated(&result).with(&[], &["resultType"])))
        }
        Ok(_) => Err(bad_task("its result is no object")),
        Err(error) if error.kind == ErrorKind::Server && Status::of(task)? == Status::Failed => {
            detailed(task, Status::Failed, &Detail::Error(error.to_object()))
        }
        Err(error) => Err(error),
    }
}

/// The task's own members, renamed; everything else in its place.
fn members(out: &mut ObjectWriter, task: &Json, leave: &[&str]) -> Result<(), Error> {
    if id_of(task).is_none() {
        return Err(bad_task("it has no taskId"));
    }
    let mut ttl = None;
    for entry in task.entries() {
        if entry.has_key("ttl") || entry.has_key("ttlMs") {
            ttl.get_or_insert(whole_ms(entry.value));
        } else if entry.has_key("pollInterval") || entry.has_key("pollIntervalMs") {
            if let Some(ms) = whole_ms(entry.value) {
                out.member("pollIntervalMs", ms.as_bytes());
            }
        } else if !leave.iter().any(|key| entry.has_key(key)) {
            out.raw_member(entry.raw_key, entry.value);
        }
    }
    // Required, and `null` is what its absence means.
    out.member("ttlMs", ttl.flatten().unwrap_or_else(|| "null".to_owned()).as_bytes());
    Ok(())
}

fn input_requests(requests: &[InputRequest]) -> Json {
    let mut out = ObjectWriter::with_capacity(256);
    for request in requests {
        let mut one = ObjectWriter::with_capacity(256);
        one.member("method", string_literal(request.method.as_str()).as_bytes());
        if let Some(params) = &request.params {
            one.member("params", params.as_bytes());
        }
        out.member(&request.key, one.finish().as_bytes());
    }
    out.finish()
}

fn error_object(error: &ErrorObject) -> Json {
    let mut out = ObjectWriter::with_capacity(128);
    out.member("code", error.code.to_string().as_bytes());
    out.member("message", string_literal(&error.message).as_bytes());
    if let Some(data) = &error.data {
        out.member("data", data.as_bytes());
    }
    out.finish()
}
