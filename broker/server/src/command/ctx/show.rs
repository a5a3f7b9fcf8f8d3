//! Versions, changes and spaces, for people and as JSON.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use spanwire_rpc::v1::{ContextAuthor, ContextChange, ContextEntry, ContextEvent, ContextSpace, ContextWriteResponse};

use crate::{
    failure::Failure,
    output::{Cell, Tone, ago, clean, count, first_line, paint},
    raw,
};

/// Characters of a trace id that are shown in a list.
const SHORT_ID: usize = 12;
/// Characters of a value that are shown in a list.
const MAX_VALUE: usize = 160;

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// One line of a value.
fn line(value: &Bytes) -> String {
    first_line(&String::from_utf8_lossy(value), MAX_VALUE)
}

/// Who wrote something, and in which trace.
fn by(author: Option<&ContextAuthor>) -> String {
    let Some(author) = author else { return String::new() };
    let trace = if author.trace_id.is_empty() { String::new() } else { format!(", trace {}", short(&author.trace_id)) };
    clean(&format!("by {} on {}{trace}", author.principal, author.node))
}

/// What is known of a key or a change as JSON, with its value spliced in as it was written.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    #[serde(flatten)]
    pub(super) facts: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

impl Document {
    /// The value is left out where it was not asked for.
    fn new(facts: Value, value: &Bytes) -> Result<Self, Failure> {
        if value.is_empty() {
            return Ok(Self { facts, value: None });
        }
        Ok(Self { facts, value: Some(raw::part(value)?) })
    }
}

/// What is known of a version beside its value.
pub(super) fn facts(entry: &ContextEntry, now_ms: u64) -> String {
    let written = ago(entry.written_unix_ms, now_ms);
    let lives = match entry.expires_unix_ms {
        0 => String::new(),
        until => format!(", lives {} s more", until.saturating_sub(now_ms).div_ceil(1000)),
    };
    let trace = entry.author.as_ref().map(|author| author.trace_id.as_str()).filter(|trace| !trace.is_empty());
    let trace = trace.map(|trace| format!(", trace {trace}")).unwrap_or_default();
    let who = entry.author.as_ref().map(|author| format!("by {} on {}", author.principal, author.node));
    clean(&format!("version {} {}, {written}{trace}{lives}", entry.version, who.unwrap_or_default()))
}

/// The headers of [`row`].
pub(super) const ENTRY: [&str; 6] = ["key", "version", "bytes", "written", "by", "trace"];

/// A key as a row.
pub(super) fn row(entry: &ContextEntry, now_ms: u64) -> Vec<Cell> {
    let author = entry.author.clone().unwrap_or_default();
    vec![
        (&entry.key).into(),
        entry.version.to_string().into(),
        entry.bytes.to_string().into(),
        ago(entry.written_unix_ms, now_ms).into(),
        format!("{} on {}", author.principal, author.node).into(),
        Cell::toned(short(&author.trace_id), Tone::Dim),
    ]
}

/// The value as a further cell of a row.
pub(super) fn value_cell(value: &Bytes) -> Cell {
    line(value).into()
}

/// What happened, in one word.
fn change(change: ContextChange) -> (&'static str, Tone) {
    match change {
        ContextChange::Unspecified => ("unknown", Tone::Dim),
        ContextChange::Put => ("put", Tone::Good),
        ContextChange::Patch => ("patch", Tone::Good),
        ContextChange::Append => ("append", Tone::Good),
        ContextChange::Delete => ("delete", Tone::Warn),
        ContextChange::Expire => ("expire", Tone::Warn),
        ContextChange::Drop => ("drop", Tone::Bad),
    }
}

/// A change in one line.
pub(super) fn event_line(event: &ContextEvent) -> String {
    let (word, tone) = change(event.change());
    // What is too large for the log is read from its key.
    let value = match (event.value_json.is_empty(), event.bytes) {
        (true, 0) => String::new(),
        (true, bytes) => format!(" ({bytes} bytes)"),
        (false, _) => format!(" {}", line(&event.value_json)),
    };
    let key = if event.key.is_empty() { "(the space)".to_owned() } else { clean(&event.key) };
    let by = paint(&by(event.author.as_ref()), Tone::Dim);
    format!("{:>8} {} {key}{value} {by}", event.sequence, paint(&format!("{word:<6}"), tone))
}

fn author_json(author: Option<&ContextAuthor>) -> Value {
    let Some(author) = author else { return Value::Null };
    json!({
        "principal": author.principal,
        "node": author.node,
        "call_id": author.call_id,
        "trace_id": author.trace_id,
        "span_id": author.span_id,
    })
}

/// A key as JSON. The value is left out where it was not asked for.
pub(super) fn entry_json(entry: &ContextEntry) -> Result<Document, Failure> {
    let facts = json!({
        "key": entry.key,
        "version": entry.version,
        "bytes": entry.bytes,
        "created": entry.created,
        "written_unix_ms": entry.written_unix_ms,
        "expires_unix_ms": Some(entry.expires_unix_ms).filter(|ms| *ms > 0),
        "author": author_json(entry.author.as_ref()),
    });
    Document::new(facts, &entry.value_json)
}

/// A change as JSON.
pub(super) fn event_json(event: &ContextEvent) -> Result<Document, Failure> {
    let facts = json!({
        "sequence": event.sequence,
        "index": event.index,
        "change": change(event.change()).0,
        "key": Some(&event.key).filter(|key| !key.is_empty()),
        "version": Some(event.version).filter(|version| *version > 0),
        "bytes": event.bytes,
        "written_unix_ms": event.written_unix_ms,
        "author": author_json(event.author.as_ref()),
    });
    Document::new(facts, &event.value_json)
}

/// A space as JSON.
pub(super) fn space_json(space: &ContextSpace) -> Value {
    json!({
        "name": space.name,
        "keys": space.keys,
        "bytes": space.bytes,
        "events": space.events,
        "log_bytes": space.log_bytes,
        "first": space.first,
        "last": space.last,
    })
}

/// A write as JSON.
pub(super) fn written_json(written: &ContextWriteResponse) -> Value {
    let one = |written: &spanwire_rpc::v1::ContextWritten| {
        json!({
            "key": written.key,
            "version": Some(written.version).filter(|version| *version > 0),
            "changed": written.changed,
            "length": Some(written.length).filter(|length| *length > 0),
        })
    };
    let done: Vec<Value> = written.written.iter().map(one).collect();
    json!({ "sequence": written.sequence, "operation": written.operation, "written": done })
}

/// A write for people, a line for each key.
pub(super) fn written_lines(space: &str, written: &ContextWriteResponse) -> Vec<String> {
    let line = |done: &spanwire_rpc::v1::ContextWritten| {
        let key = clean(&done.key);
        match (done.version, done.changed, done.length) {
            (0, false, _) => format!("{space}/{key} was not there, sequence {}", written.sequence),
            (0, true, _) => format!("{space}/{key} is deleted, sequence {}", written.sequence),
            (version, _, 0) => format!("{space}/{key} is in version {version}"),
            (version, _, length) => {
                let elements = count(usize::try_from(length).unwrap_or(usize::MAX), "element");
                format!("{space}/{key} is in version {version}, with {elements}")
            }
        }
    };
    written.written.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_is_shown_as_it_was_written() {
        let written = r#"{"z":12345678901234567890123,"b":1.10,"a":1e999}"#;
        let entry = ContextEntry { key: "k".into(), value_json: Bytes::from(written), ..ContextEntry::default() };
        assert_eq!(raw::text(&entry.value_json).unwrap(), written);
        let json = serde_json::to_string(&entry_json(&entry).unwrap()).unwrap();
        assert!(json.ends_with(&format!(",\"value\":{written}}}")), "{json}");
        let lines =
            ContextEvent { value_json: Bytes::from("{\r\n\"a\":\n\"\u{9b}31m\u{2061}\"}"), ..ContextEvent::default() };
        let json = serde_json::to_string(&event_json(&lines).unwrap()).unwrap();
        assert!(json.ends_with(r#""value":{  "a": "\u009b31m\u2061"}}"#), "{json}");
        let absent = serde_json::to_value(entry_json(&ContextEntry::default()).unwrap()).unwrap();
        assert!(absent.get("value").is_none() && absent.get("version").is_some(), "{absent}");
        let broken = ContextEntry { value_json: Bytes::from("{"), ..ContextEntry::default() };
        assert!(entry_json(&broken).unwrap_err().text.contains("cannot be read"));
    }
}
