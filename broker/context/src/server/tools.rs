//! The tools as they are listed (2026-07-28, server/tools).

mod schema;

use std::sync::LazyLock;

use serde_json::{Value, json};

use self::schema::{
    after_key, after_space, at_key, at_least, changed, conditions, event, from, if_absent, if_version, in_space, item,
    level, level_of_all, limit, merge, operation_id, operations, or_null, prefix, sequence, space, stale_ms, steps,
    text, ttl_ms, value, values, with_errors,
};

/// The entries of `tools/list`.
pub(super) fn listing() -> &'static str {
    static LISTING: LazyLock<String> =
        LazyLock::new(|| Value::Array(reads().into_iter().chain(writes()).collect()).to_string());
    &LISTING
}

fn reads() -> Vec<Value> {
    let items = json!({ "type": "array", "items": item() });
    let next = text("There is more: give it as after.");
    let values = |description: &str| json!({ "type": "boolean", "description": description });
    let current = [("level", level()), ("at_least", at_least())];
    let nullable = |more: &[(&'static str, Value)]| -> Vec<(&'static str, Value)> {
        more.iter().map(|(name, schema)| (*name, or_null(schema.clone()))).collect()
    };
    let current = nullable(&current);
    let with = |more: &[(&'static str, Value)]| [nullable(more), current.clone()].concat();
    let list = with(&[
        ("prefix", prefix("keys")),
        ("after", after_key()),
        ("limit", limit()),
        ("values", values("Whether to read the values too. Default: false.")),
    ]);
    let log = with(&[
        ("from", from()),
        ("prefix", prefix("keys")),
        ("limit", limit()),
        ("values", values("Whether to show what was written. Default: true.")),
    ]);
    let page = [("prefix", prefix("spaces")), ("after", after_space()), ("limit", limit()), ("level", level_of_all())];
    let mut spaces = in_space(&nullable(&page));
    if let Some(spaces) = spaces.as_object_mut() {
        spaces.remove("space");
    }
    vec![
        tool("get", "Read a key", READS)
            .does("Reads the value of a key, with its version and who wrote it.")
            .takes(at_key(&current), &["space", "key"])
            .gives(json!({
                "found": { "type": "boolean" },
                "item": item(),
                "sequence": sequence(),
                "stale_ms": stale_ms(),
            })),
        tool("list", "List keys", READS)
            .does("Lists the keys of a space in their order, with versions and writers.")
            .takes(in_space(&list), &["space"])
            .gives(json!({ "items": items, "next": next, "sequence": sequence(), "stale_ms": stale_ms() })),
        tool("snapshot", "Read a whole space", READS)
            .does("Reads all keys of a space with their values, as they were at one sequence.")
            .takes(in_space(&current), &["space"])
            .gives(json!({ "items": items, "sequence": sequence(), "stale_ms": stale_ms() })),
        tool("log", "Read what happened", READS)
            .does("Reads the events of a space in their order: what changed, who did it, in which call and trace.")
            .takes(in_space(&log), &["space"])
            .gives(json!({
                "events": { "type": "array", "items": event() },
                "next": { "type": "integer", "description": "There is more: give it as from." },
                "first": { "type": "integer", "description": "From this sequence on all events are kept." },
                "sequence": sequence(),
                "stale_ms": stale_ms(),
            })),
        tool("spaces", "List spaces", READS)
            .does("Lists the spaces by name, with what they hold where you may read all of it.")
            .takes(spaces, &[])
            .gives(json!({ "spaces": { "type": "array", "items": space() }, "next": next, "stale_ms": stale_ms() })),
    ]
}

fn writes() -> Vec<Value> {
    let mut written = changed();
    written["sequence"] = sequence();
    let single = |more: &[(&'static str, Value)]| {
        let common = [("if_version", if_version()), ("if_absent", if_absent()), ("operation", operation_id())];
        at_key(&[more, &common].concat())
    };
    let several =
        in_space(&[("conditions", conditions()), ("operations", operations()), ("operation", operation_id())]);
    vec![
        tool("put", "Write a key", CHANGES)
            .does(
                "Sets the value of a key. With if_version or if_absent it is refused when somebody else was faster, and says \
                 what is there.",
            )
            .takes(single(&[("value", value()), ("ttl_ms", ttl_ms())]), &["space", "key", "value"])
            .gives(written.clone()),
        tool("patch", "Change a part of a key", CHANGES)
            .does("Merges an object into the value of a key (merge), or changes parts of it (steps).")
            .takes(single(&[("merge", merge()), ("steps", steps())]), &["space", "key"])
            .takes_one_of("merge", "steps")
            .gives(written.clone()),
        tool("delete", "Remove a key", REMOVES)
            .does("Removes a key. Nothing happens when it is not there.")
            .takes(single(&[]), &["space", "key"])
            .gives(written.clone()),
        tool("append", "Add to a key", ADDS)
            .does(
                "Adds to the end of the array that a key holds; the array is made when it is not there. Nobody's additions \
                 are lost.",
            )
            .takes(single(&[("values", values())]), &["space", "key", "values"])
            .gives(written),
        tool("drop", "Remove a whole space", REMOVES)
            .does(
                "Removes a space with all of its keys and its log. Nothing of it can be had back; needs a right of its own \
                 (admin).",
            )
            .takes(in_space(&[("operation", operation_id())]), &["space"])
            .gives(json!({
                "dropped": { "type": "boolean", "description": "False when there was no such space." },
                "keys": { "type": "integer", "description": "How many keys went with it." },
            })),
        tool("txn", "Write several keys at once", CHANGES)
            .does("Does several operations on one space, all or nothing, if all conditions hold.")
            .takes(several, &["space", "operations"])
            .gives(json!({
                "sequence": sequence(),
                "results": { "type": "array", "items": { "type": "object", "properties": changed() } },
            })),
    ]
}

/// What a tool does to its world.
#[derive(Clone, Copy)]
struct Hints {
    is_read_only: bool,
    is_destructive: bool,
    is_idempotent: bool,
}

const READS: Hints = Hints { is_read_only: true, is_destructive: false, is_idempotent: true };
/// Another version comes of the same call, and what others wrote meanwhile is gone.
const CHANGES: Hints = Hints { is_read_only: false, is_destructive: true, is_idempotent: false };
const REMOVES: Hints = Hints { is_read_only: false, is_destructive: true, is_idempotent: true };
const ADDS: Hints = Hints { is_read_only: false, is_destructive: false, is_idempotent: false };

/// A tool while it is described.
struct Tool(Value);

fn tool(name: &str, title: &str, hints: Hints) -> Tool {
    let annotations = json!({
        "title": title,
        "readOnlyHint": hints.is_read_only,
        "destructiveHint": hints.is_destructive,
        "idempotentHint": hints.is_idempotent,
        "openWorldHint": false,
    });
    Tool(json!({ "name": name, "title": title, "annotations": annotations }))
}

impl Tool {
    fn does(mut self, description: &str) -> Self {
        self.0["description"] = description.into();
        self
    }

    fn takes(mut self, properties: Value, required: &[&str]) -> Self {
        // What excludes what. Not with oneOf and its like: hosts of models take none of these at the top.
        let mut excluded = json!({});
        if properties.get("if_version").is_some() {
            excluded["if_version"] = json!({ "properties": { "if_absent": { "const": false } } });
        }
        let mut schema =
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        if schema["properties"].get("at_least").is_some() {
            // Null is as if it were not there.
            let is_there = json!({ "properties": { "at_least": { "type": "integer" } } });
            excluded["at_least"] =
                json!({ "if": is_there, "then": { "properties": { "level": { "enum": ["at_least", null] } } } });
            schema["if"] = json!({ "properties": { "level": { "const": "at_least" } }, "required": ["level"] });
            schema["then"] = json!({ "required": ["at_least"], "properties": is_there["properties"] });
        }
        if excluded != json!({}) {
            schema["dependentSchemas"] = excluded;
        }
        self.0["inputSchema"] = schema;
        self
    }

    /// Exactly one of two arguments.
    fn takes_one_of(mut self, one: &str, other: &str) -> Self {
        let schema = &mut self.0["inputSchema"];
        schema["if"] = json!({ "required": [one] });
        schema["then"] = json!({ "properties": { other: false } });
        schema["else"] = json!({ "required": [other] });
        self
    }

    fn gives(mut self, properties: Value) -> Value {
        self.0["outputSchema"] = json!({ "type": "object", "properties": with_errors(properties) });
        self.0
    }
}
