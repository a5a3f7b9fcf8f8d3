//! What the arguments and results of the tools look like, as JSON Schema.

use serde_json::{Value, json};

use crate::{MAX_EVENT_VALUE, MAX_PAGE};

pub(super) fn in_space(more: &[(&str, Value)]) -> Value {
    let mut properties = json!({ "space": text("The space: 1 to 64 of A-Z, a-z, 0-9, . _ and -.") });
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
    text("The key: up to 512 bytes, parts separated by /, such as team/plan.")
}

pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

pub(super) fn prefix() -> Value {
    text("Only keys that begin with this.")
}

pub(super) fn limit() -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "description": "How many at most. Default: 100." })
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
    json!({ "type": "integer", "minimum": 0, "description": "The sequence of a write that must be seen." })
}

pub(super) fn sequence() -> Value {
    json!({ "type": "integer", "description": "The entry of the log that this reflects." })
}

pub(super) fn stale_ms() -> Value {
    json!({ "type": "integer", "description": "How long the log has been out of reach; absent when it is not." })
}

pub(super) fn if_version() -> Value {
    json!({ "type": "integer", "minimum": 1, "description": "Only if the key is there in this version." })
}

pub(super) fn if_absent() -> Value {
    json!({ "type": "boolean", "description": "Only if the key is not there." })
}

pub(super) fn operation_id() -> Value {
    json!({
        "type": "string",
        "format": "uuid",
        "description": "An id of your own for this write: repeated under the same id it is done once and answers the same.",
    })
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
    json!({ "type": "integer", "minimum": 1, "description": "Milliseconds after which the key goes by itself." })
}

pub(super) fn merge() -> Value {
    json!({ "description": "A JSON merge patch (RFC 7396): null removes a member. A key that is not there is made." })
}

pub(super) fn steps() -> Value {
    let description = "A JSON patch (RFC 6902), instead of merge.";
    json!({ "type": "array", "items": { "type": "object" }, "description": description })
}

pub(super) fn values() -> Value {
    json!({ "type": "array", "items": {}, "minItems": 1, "description": "What is added, in order." })
}

pub(super) fn conditions() -> Value {
    json!({
        "type": "array",
        "description": "What must hold, or nothing is done.",
        "items": {
            "type": "object",
            "properties": {
                "key": key(),
                "version": { "type": "integer", "description": "It must be there in this version." },
                "exists": { "type": "boolean", "description": "It must be there, or must not." },
            },
            "required": ["key"],
            "additionalProperties": false,
        },
    })
}

pub(super) fn operations() -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "description": "What is done, in order; a key stands in one of them at most.",
        "items": {
            "type": "object",
            "properties": {
                "op": { "type": "string", "enum": ["put", "patch", "delete", "append"] },
                "key": key(),
                "value": value(),
                "ttl_ms": ttl_ms(),
                "merge": merge(),
                "steps": steps(),
                "values": values(),
            },
            "required": ["op", "key"],
            "additionalProperties": false,
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
