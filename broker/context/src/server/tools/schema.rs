//! What the arguments and results of the tools look like, as JSON Schema.

use serde_json::{Value, json};

use super::super::arguments::{MAX_MEMBERS, MAX_PREFIX, MAX_WHOLE};
use crate::{MAX_EVENT_VALUE, MAX_PAGE, Quotas, patch::MAX_STEPS};

/// What [`crate::SpaceName`] takes.
fn space_name(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "description": description })
}

/// What [`crate::Key`] takes, but for its limit, which is in bytes and not in characters.
fn key_name(description: &str) -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": 512,
        "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$",
        "description": description,
    })
}

fn whole(least: u64, most: u64, description: &str) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most, "description": description })
}

/// An argument that may be `null`, as if it were not there.
pub(super) fn or_null(mut schema: Value) -> Value {
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.push(Value::Null);
    }
    schema
}

pub(super) fn in_space(more: &[(&str, Value)]) -> Value {
    let mut properties = json!({ "space": space_name("The space: 1 to 64 of A-Z, a-z, 0-9, . _ and -.") });
    for (name, schema) in more {
        properties[*name] = schema.clone();
    }
    properties
}

pub(super) fn at_key(more: &[(&str, Value)]) -> Value {
    let mut properties = in_space(more);
    properties["key"] = key();
    properties
}

pub(super) fn key() -> Value {
    key_name("The key: up to 512 bytes, parts separated by /, such as team/plan.")
}

pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// Of keys, or of spaces.
pub(super) fn prefix(of: &str) -> Value {
    json!({ "type": "string", "maxLength": MAX_PREFIX, "description": format!("Only {of} that begin with this.") })
}

const AFTER: &str = "Only what comes after this: the next of the page before.";

pub(super) fn after_key() -> Value {
    key_name(AFTER)
}

pub(super) fn after_space() -> Value {
    space_name(AFTER)
}

pub(super) fn limit() -> Value {
    whole(1, MAX_PAGE as u64, "How many at most. Default: 100.")
}

pub(super) fn from() -> Value {
    whole(0, MAX_WHOLE, "The first sequence. Default: the oldest event that is kept.")
}

pub(super) fn level() -> Value {
    json!({
        "type": "string",
        "enum": ["local", "at_least", "linearizable"],
        "description": "How current: what this node knows (default), at least up to at_least, or all that anybody was acknowledged.",
    })
}

/// Where a sequence, which is one space's, says nothing.
pub(super) fn level_of_all() -> Value {
    json!({
        "type": "string",
        "enum": ["local", "linearizable"],
        "description": "How current: what this node knows (default), or all that anybody was acknowledged.",
    })
}

pub(super) fn at_least() -> Value {
    whole(0, MAX_WHOLE, "The sequence of a write that must be seen.")
}

pub(super) fn sequence() -> Value {
    json!({ "type": "integer", "description": "The entry of the log that this reflects." })
}

pub(super) fn stale_ms() -> Value {
    json!({ "type": "integer", "description": "How long the log has been out of reach; absent when it is not." })
}

pub(super) fn if_version() -> Value {
    whole(1, MAX_WHOLE, "Only if the key is there in this version.")
}

pub(super) fn if_absent() -> Value {
    json!({ "type": "boolean", "description": "Only if the key is not there." })
}

pub(super) fn operation_id() -> Value {
    or_null(json!({
        "type": "string",
        "format": "uuid",
        "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
        "description": "An id of your own for this write: repeated under the same id it is done once and answers the same.",
    }))
}

pub(super) fn writer() -> Value {
    json!({
        "type": "object",
        "description": "Who wrote it.",
        "properties": {
            "principal": { "type": "string" },
            "node": { "type": "string" },
            "call": { "type": "string" },
            "trace": { "type": "string" },
            "span": { "type": "string" },
        },
    })
}

pub(super) fn item() -> Value {
    let properties = json!({
        "key": { "type": "string" },
        "version": { "type": "integer", "description": "Give it as if_version to change what you have read." },
        "created": { "type": "integer" },
        "time_ms": { "type": "integer" },
        "due_ms": { "type": "integer" },
        "bytes": { "type": "integer" },
        "writer": writer(),
        "value": {},
    });
    json!({ "type": "object", "properties": properties })
}

pub(super) fn event() -> Value {
    let value = format!("What was written, or added; absent above {MAX_EVENT_VALUE} bytes.");
    json!({
        "type": "object",
        "properties": {
            "sequence": { "type": "integer" },
            "time_ms": { "type": "integer" },
            "kind": { "type": "string", "enum": ["put", "patch", "append", "delete", "expire", "drop"] },
            "key": { "type": "string" },
            "version": { "type": "integer" },
            "bytes": { "type": "integer" },
            "value": { "description": value },
            "writer": writer(),
        },
    })
}

pub(super) fn space() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "keys": { "type": "integer" },
            "bytes": { "type": "integer" },
            "events": { "type": "integer" },
            "first": { "type": "integer" },
            "last": { "type": "integer" },
        },
    })
}

pub(super) fn value() -> Value {
    json!({ "description": "Any JSON value, kept as it is." })
}

pub(super) fn ttl_ms() -> Value {
    or_null(whole(1, MAX_WHOLE, "Milliseconds after which the key goes by itself."))
}

pub(super) fn merge() -> Value {
    json!({ "description": "A JSON merge patch (RFC 7396): null removes a member. A key that is not there is made." })
}

pub(super) fn steps() -> Value {
    let pointer = || json!({ "type": "string", "pattern": "^(/([^~/]|~[01])*)*$" });
    let step = |ops: &[&str], needed: &[&str]| {
        json!({
            "properties": { "op": { "enum": ops }, "path": pointer(), "from": pointer(), "value": {} },
            "required": ([&["op", "path"], needed].concat()),
        })
    };
    json!({
        "type": "array",
        "maxItems": MAX_STEPS,
        "items": {
            "type": "object",
            "maxProperties": MAX_MEMBERS,
            "anyOf": [
                step(&["add", "replace", "test"], &["value"]),
                step(&["remove"], &[]),
                step(&["move", "copy"], &["from"]),
            ],
        },
        "description": "A JSON patch (RFC 6902), instead of merge.",
    })
}

pub(super) fn values() -> Value {
    json!({ "type": "array", "items": {}, "minItems": 1, "description": "What is added, in order." })
}

pub(super) fn conditions() -> Value {
    let condition = |properties: Value, needed: &str| {
        json!({
            "type": "object",
            "properties": properties,
            "required": ["key", needed],
            "additionalProperties": false,
        })
    };
    let version = whole(1, MAX_WHOLE, "It must be there in this version.");
    let exists = json!({ "type": "boolean", "description": "It must be there, or must not." });
    json!({
        "type": "array",
        "maxItems": Quotas::CEILING.operations,
        "description": "What must hold, or nothing is done.",
        "items": {
            "anyOf": [
                condition(json!({ "key": key(), "version": version, "exists": { "const": true } }), "version"),
                condition(json!({ "key": key(), "exists": exists }), "exists"),
            ],
        },
    })
}

pub(super) fn operations() -> Value {
    let operation = |op: &str, more: Value, needed: &[&str]| {
        let mut properties = json!({ "op": { "type": "string", "const": op }, "key": key() });
        for (name, schema) in more.as_object().into_iter().flatten() {
            properties[name] = schema.clone();
        }
        json!({
            "type": "object",
            "properties": properties,
            "required": ([&["op", "key"], needed].concat()),
            "additionalProperties": false,
        })
    };
    json!({
        "type": "array",
        "minItems": 1,
        "maxItems": Quotas::CEILING.operations,
        "description": "What is done, in order; a key stands in one of them at most.",
        "items": {
            "anyOf": [
                operation("put", json!({ "value": value(), "ttl_ms": ttl_ms() }), &["value"]),
                operation("patch", json!({ "merge": merge() }), &["merge"]),
                operation("patch", json!({ "steps": steps() }), &["steps"]),
                operation("delete", json!({}), &[]),
                operation("append", json!({ "values": values() }), &["values"]),
            ],
        },
    })
}

/// What became of one operation.
pub(super) fn changed() -> Value {
    json!({
        "key": { "type": "string" },
        "version": { "type": "integer", "description": "The key's version now; absent when it is gone." },
        "changed": { "type": "boolean", "description": "False for a delete of what was not there." },
        "length": { "type": "integer", "description": "After an append: how many elements the array has." },
    })
}

/// What is added to every result: clients hold errors against the schema of the results, too.
pub(super) fn with_errors(mut properties: Value) -> Value {
    let kinds = "Of an error: conflict, quota_exceeded, invalid_params, denied, too_large, deadline_exceeded.";
    properties["kind"] = text(kinds);
    properties["text"] = text("Of an error: what, and on what.");
    properties["data"] =
        json!({ "type": "object", "description": "Of an error: what is there instead, or which limit." });
    properties
}
