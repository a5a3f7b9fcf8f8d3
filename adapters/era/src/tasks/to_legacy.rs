//! What a server says of tasks in the extension's form, as a client of 2025-11-25 reads it.

use serde::Deserialize;
use spanwire_mcp::{
    ErrorObject, Json, Method, Notification, ObjectWriter, codes,
    input::{InputRequest, InputRequired},
};
use spanwire_model::{Error, ErrorKind, Outcome};

use super::{Status, bad_task, id_of, related, whole_ms};

/// `_meta` and the members that only one of the two forms has.
const NOT_OF_THE_TASK: [&str; 5] = ["resultType", "_meta", "result", "error", "inputRequests"];
/// Members of [`Task`](https://modelcontextprotocol.io/specification/2025-11-25/schema#task) that must be there.
const REQUIRED: [&str; 3] = ["taskId", "createdAt", "lastUpdatedAt"];

/// A task, by itself.
pub(crate) fn task(detailed: &Json) -> Result<Json, Error> {
    if let Some(absent) = REQUIRED.into_iter().find(|key| detailed.get(key).is_none()) {
        return Err(bad_task(&format!("it has no {absent}")));
    }
    let status = status(detailed)?;
    let mut out = ObjectWriter::with_capacity(detailed.len());
    let mut ttl = None;
    for entry in detailed.entries() {
        if entry.has_key("ttlMs") {
            ttl = whole_ms(entry.value);
        } else if entry.has_key("pollIntervalMs") {
            if let Some(ms) = whole_ms(entry.value) {
                out.member("pollInterval", ms.as_bytes());
            }
        } else if entry.has_key("status") {
            out.member("status", status.literal().as_bytes());
        } else if !NOT_OF_THE_TASK.iter().any(|key| entry.has_key(key)) {
            out.raw_member(entry.raw_key, entry.value);
        }
    }
    out.member("ttl", ttl.unwrap_or_else(|| "null".to_owned()).as_bytes());
    Ok(out.finish())
}

/// A tool's own error is a failure in this form (2025-11-25, basic/utilities/tasks, "Task Execution Errors").
fn status(detailed: &Json) -> Result<Status, Error> {
    let is_error =
        || detailed.get("result").and_then(|result| result.get("isError")).is_some_and(|flag| flag.as_str() == "true");
    match Status::of(detailed)? {
        Status::Completed if is_error() => Ok(Status::Failed),
        status => Ok(status),
    }
}

/// `CreateTaskResult`.
pub(crate) fn created(result: &Json) -> Result<Json, Error> {
    Ok(nested(&task(result)?, result.get("_meta")))
}

/// `CreateTaskResult` of a task that is in this form already.
pub(crate) fn nested(task: &Json, meta: Option<Json>) -> Json {
    let mut out = ObjectWriter::with_capacity(task.len() + 64);
    out.member("task", task.as_bytes());
    if let Some(meta) = meta {
        out.member("_meta", meta.as_bytes());
    }
    out.finish()
}

/// The result of `tasks/get` and `tasks/cancel`: the task with the result's own `_meta`.
pub(crate) fn got(detailed: &Json) -> Result<Json, Error> {
    let task = task(detailed)?;
    Ok(match detailed.get("_meta") {
        Some(meta) => task.with(&[("_meta", meta.as_bytes())], &[]),
        None => task,
    })
}

/// `notifications/tasks/status`; `None` for one that cannot be read.
pub(crate) fn notification(notification: &Notification) -> Option<Notification> {
    let params = got(notification.params.as_ref()?).ok()?;
    Some(Notification { method: Method::LegacyTaskStatus, params: Some(params) })
}

/// The outcome of `tasks/result` for a task that is over.
pub(crate) fn payload(detailed: &Json) -> Outcome {
    let id = id_of(detailed).ok_or_else(|| bad_task("it has no taskId"))?;
    match Status::of(detailed)? {
        Status::Completed => {
            let result = detailed.get("result").filter(Json::is_object);
            let result = result.ok_or_else(|| bad_task("it is completed without a result"))?;
            Ok(related(&result.with(&[], &["resultType"]), &id))
        }
        Status::Failed => Err(Error::from_server(error(detailed)?)),
        Status::Cancelled => Err(cancelled(&id)),
        Status::Working | Status::InputRequired => Err(bad_task("it is not over")),
    }
}

/// What `tasks/result` says of a task that was cancelled.
pub(crate) fn cancelled(id: &str) -> Error {
    let text = format!("task \"{id}\" was cancelled: it has no result");
    Error { code: Some(codes::INTERNAL_ERROR), ..Error::new(ErrorKind::Cancelled, text) }
}

/// What the server asks of the client.
pub(crate) fn requests(detailed: &Json) -> Result<Vec<InputRequest>, Error> {
    if detailed.get("inputRequests").is_none_or(|requests| requests.entries().next().is_none()) {
        return Ok(Vec::new());
    }
    let result = detailed.with(&[("resultType", b"\"input_required\"")], &["requestState"]);
    match InputRequired::read(&result) {
        Some(Ok(required)) => Ok(required.requests),
        Some(Err(text)) => Err(bad_task(&text)),
        None => Ok(Vec::new()),
    }
}

#[derive(Deserialize)]
struct ErrorMembers {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Json>,
}

fn error(detailed: &Json) -> Result<ErrorObject, Error> {
    let error = detailed.get("error").ok_or_else(|| bad_task("it failed without an error"))?;
    let read: ErrorMembers = error.read().map_err(|error| bad_task(&format!("its error: {error}")))?;
    Ok(ErrorObject { code: read.code, message: read.message, data: read.data })
}
