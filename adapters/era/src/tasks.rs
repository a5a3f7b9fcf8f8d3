//! Tasks in their two forms: the experimental one of 2025-11-25 (basic/utilities/tasks) and the extension
//! `io.modelcontextprotocol/tasks` (ext-tasks, specification/draft/tasks). Pure: text goes in, text comes out.
//!
//! | 2025-11-25 | extension |
//! |---|---|
//! | `{"task": {…}}` in answer to a call that had `task` in its params | `resultType: "task"`, the task's members flat |
//! | `ttl`, `pollInterval` | `ttlMs`, `pollIntervalMs`, whole milliseconds |
//! | `tasks/get`, then `tasks/result` | `tasks/get` with `result` or `error` in it |
//! | requests of the server while `tasks/result` is open | `inputRequests` in `tasks/get`, answered by `tasks/update` |
//! | `_meta["io.modelcontextprotocol/related-task"]` | nothing: the id stands beside it |
//! | `failed`, also for a result with `isError` | `failed` for JSON-RPC errors only, else `completed` |
//! | `notifications/tasks/status` | `notifications/tasks`, which holds what `tasks/get` does |
//!
//! Members that neither form names keep their bytes. [`to_extension`] and [`to_legacy`] are the two directions.

pub(crate) mod to_extension;
pub(crate) mod to_legacy;

use spanwire_mcp::{Json, ObjectWriter, meta, tasks};
use spanwire_model::{Error, ErrorKind};

/// Where a task stands; the same five in both forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// In work.
    Working,
    /// Waits for the client.
    InputRequired,
    /// Has a result.
    Completed,
    /// Has an error; in 2025-11-25 perhaps a result that is one.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl Status {
    /// The status of a task. One without a known status is the server's fault.
    pub(crate) fn of(task: &Json) -> Result<Self, Error> {
        let status = task.get("status").unwrap_or_default();
        match status.as_str() {
            "\"working\"" => Ok(Self::Working),
            "\"input_required\"" => Ok(Self::InputRequired),
            "\"completed\"" => Ok(Self::Completed),
            "\"failed\"" => Ok(Self::Failed),
            "\"cancelled\"" => Ok(Self::Cancelled),
            _ => Err(bad_task("its status is none of the five")),
        }
    }

    /// The status in JSON.
    pub(crate) fn literal(self) -> &'static str {
        match self {
            Self::Working => "\"working\"",
            Self::InputRequired => "\"input_required\"",
            Self::Completed => "\"completed\"",
            Self::Failed => "\"failed\"",
            Self::Cancelled => "\"cancelled\"",
        }
    }

    /// True when nothing changes any more.
    pub(crate) fn is_terminal(self) -> bool {
        match self {
            Self::Working | Self::InputRequired => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// The id of a task.
pub(crate) fn id_of(task: &Json) -> Option<String> {
    task.get("taskId")?.read().ok()
}

/// The `taskId` of a request's params.
pub(crate) fn id_in(params: &Json) -> Result<String, Error> {
    id_of(params).ok_or_else(|| Error::new(ErrorKind::InvalidParams, "params.taskId is missing or no string"))
}

/// A server's task that cannot be read.
fn bad_task(why: &str) -> Error {
    Error::new(ErrorKind::BadServer, format!("the server sent a task that cannot be read: {why}"))
}

/// The error for a client that has not declared the extension (ext-tasks, "Capability Negotiation").
pub(crate) fn missing_extension(what: &str) -> Error {
    let text = format!("{what} needs the client capability extensions[\"{}\"]", tasks::EXTENSION);
    Error::new(ErrorKind::MissingCapability, text).with_data(Json::from_trusted(tasks::MISSING_DATA))
}

/// True when an error says that the client should have declared the extension: nothing was executed.
pub(crate) fn wants_extension(error: &Error) -> bool {
    let required = || error.data.as_ref().and_then(|data| data.get("requiredCapabilities"));
    error.json_rpc_code() == spanwire_mcp::codes::MISSING_CLIENT_CAPABILITY
        && required().is_some_and(|required| tasks::is_declared(&required))
}

/// The params with the extension among the client's capabilities.
pub(crate) fn declare(params: &Json) -> Json {
    let object = |of: Option<Json>| of.filter(Json::is_object).unwrap_or_else(Json::empty_object);
    let meta_in = object(params.get("_meta"));
    let capabilities = object(meta_in.get(meta::CLIENT_CAPABILITIES));
    let extensions = object(capabilities.get("extensions")).with(&[(tasks::EXTENSION, b"{}")], &[]);
    let capabilities = capabilities.with(&[("extensions", extensions.as_bytes())], &[]);
    let meta_out = meta_in.with(&[(meta::CLIENT_CAPABILITIES, capabilities.as_bytes())], &[]);
    params.with(&[("_meta", meta_out.as_bytes())], &[])
}

/// The object with `_meta[related-task]`, as everything around a task of 2025-11-25 must have it.
pub(crate) fn related(object: &Json, id: &str) -> Json {
    let mut task = ObjectWriter::with_capacity(id.len() + 16);
    task.member("taskId", spanwire_mcp::string_literal(id).as_bytes());
    with_meta(object, &[(meta::RELATED_TASK, task.finish().as_bytes())], &[])
}

/// The task that a message of 2025-11-25 belongs to.
pub(crate) fn related_to(object: &Json) -> Option<String> {
    id_of(&object.get("_meta")?.get(meta::RELATED_TASK)?)
}

/// The object without `_meta[related-task]`.
pub(crate) fn unrelated(object: &Json) -> Json {
    let is_there = object.get("_meta").is_some_and(|meta_in| meta_in.get(meta::RELATED_TASK).is_some());
    if is_there { with_meta(object, &[], &[meta::RELATED_TASK]) } else { object.clone() }
}

/// The object with members of its `_meta` set and removed; an empty `_meta` goes.
fn with_meta(object: &Json, set: &[(&str, &[u8])], remove: &[&str]) -> Json {
    let meta_in = object.get("_meta").filter(Json::is_object).unwrap_or_else(Json::empty_object);
    let meta_out = meta_in.with(set, remove);
    if meta_out.entries().next().is_none() {
        return object.with(&[], &["_meta"]);
    }
    object.with(&[("_meta", meta_out.as_bytes())], &[])
}

/// Whole milliseconds as JSON; `None` for what is no such number.
fn whole_ms(value: &[u8]) -> Option<String> {
    let number: serde_json::Number = serde_json::from_slice(value).ok()?;
    if let Some(whole) = number.as_u64() {
        return Some(whole.to_string());
    }
    let number = number.as_f64().filter(|ms| (0.0..=9_007_199_254_740_991.0).contains(ms))?;
    Some(format!("{number:.0}"))
}

#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
