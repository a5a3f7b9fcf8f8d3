//! Results of tools: text for models, the same as structured content for programs.

use serde::Serialize;
use serde_json::json;
use spanwire_mcp::{Json, string_literal};
use spanwire_model::{Error, ErrorKind, Outcome};
use uuid::Uuid;

use super::{complete, json_of};
use crate::{Event, EventKind, Item, Key, SpaceInfo, SpaceName, Writer};

/// A key as tools and resources show it.
#[derive(Serialize)]
pub(super) struct ShownItem<'a> {
    key: &'a Key,
    version: u64,
    created: u64,
    time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
    bytes: u64,
    writer: &'a Writer,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Json>,
}

impl<'a> From<&'a Item> for ShownItem<'a> {
    fn from(item: &'a Item) -> Self {
        let Item { key, version, created, time_ms, due_ms, bytes, writer, value } = item;
        let (version, created, time_ms, due_ms, bytes) = (*version, *created, *time_ms, *due_ms, *bytes);
        Self { key, version, created, time_ms, due_ms, bytes, writer, value: value.as_ref() }
    }
}

/// An event as tools show it.
#[derive(Serialize)]
pub(super) struct ShownEvent<'a> {
    sequence: u64,
    time_ms: u64,
    kind: EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Json>,
    writer: &'a Writer,
}

impl<'a> From<&'a Event> for ShownEvent<'a> {
    fn from(event: &'a Event) -> Self {
        let Event { sequence, index: _, time_ms, kind, key, version, bytes, value, writer } = event;
        let (sequence, time_ms, kind, version, bytes) = (*sequence, *time_ms, *kind, *version, *bytes);
        Self { sequence, time_ms, kind, key: key.as_ref(), version, bytes, value: value.as_ref(), writer }
    }
}

/// A space as tools show it.
#[derive(Serialize)]
pub(super) struct ShownSpace<'a> {
    name: &'a SpaceName,
    /// What it counts, for whoever may read all of it.
    #[serde(flatten)]
    counts: Option<ShownCounts>,
    first: u64,
}

#[derive(Serialize)]
struct ShownCounts {
    keys: u64,
    bytes: u64,
    events: u64,
    last: u64,
}

impl<'a> From<&'a SpaceInfo> for ShownSpace<'a> {
    fn from(info: &'a SpaceInfo) -> Self {
        let SpaceInfo { name, keys, bytes, events, log_bytes: _, first, last } = info;
        let counts = ShownCounts { keys: *keys, bytes: *bytes, events: *events, last: *last };
        Self { name, counts: (*last > 0).then_some(counts), first: *first }
    }
}

/// The result of a tool.
pub(super) fn done<T: Serialize>(structured: &T) -> Outcome {
    Ok(result(&json_of(structured)?, false))
}

/// A failure that the model may read and act on, or the broker's own.
pub(super) fn failed(error: Error, operation: Option<Uuid>) -> Outcome {
    match error.kind {
        ErrorKind::Conflict
        | ErrorKind::QuotaExceeded
        | ErrorKind::InvalidParams
        | ErrorKind::InvalidRequest
        | ErrorKind::TooLarge
        | ErrorKind::Denied => told(error.kind_name(), &error.public, error.data),
        // Whether to do it again is known here, and models read no JSON-RPC errors.
        ErrorKind::DeadlineExceeded if operation.is_some() || error.data.is_some() => {
            told(error.kind_name(), &error.public, error.data)
        }
        ErrorKind::DeadlineExceeded
        | ErrorKind::Malformed
        | ErrorKind::MethodNotFound
        | ErrorKind::HeaderMismatch
        | ErrorKind::UnsupportedVersion
        | ErrorKind::MissingCapability
        | ErrorKind::Unauthenticated
        | ErrorKind::Overloaded
        | ErrorKind::Unavailable
        | ErrorKind::Cancelled
        | ErrorKind::StreamLost
        | ErrorKind::SessionGone
        | ErrorKind::Server
        | ErrorKind::BadServer
        | ErrorKind::Internal => Err(error),
    }
}

/// Arguments that make no sense.
pub(super) fn wrong(text: &str) -> Outcome {
    told("invalid_params", text, None)
}

fn told(kind: &str, text: &str, data: Option<Json>) -> Outcome {
    let mut structured = Json::from_trusted(json!({ "kind": kind, "text": text }).to_string());
    if let Some(data) = data {
        structured = structured.with(&[("data", data.as_bytes())], &[]);
    }
    Ok(result(&structured, true))
}

fn result(structured: &Json, is_error: bool) -> Json {
    let text = string_literal(structured.as_str());
    let mut out = complete(structured.len() + text.len() + 128);
    out.member("content", format!("[{{\"type\":\"text\",\"text\":{text}}}]").as_bytes());
    out.member("structuredContent", structured.as_bytes());
    if is_error {
        out.member("isError", b"true");
    }
    out.finish()
}
