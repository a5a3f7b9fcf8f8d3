//! Where an answer through the broker may differ from the direct one, and the comparison of the rest, field by field.

use serde_json::{Map, Value, json};
use spanwire_tests::peers::Sdk;

/// `_meta` of a result in the modern era: which server answered (2026-07-28, basic).
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// What 2026-07-28 requires of results, and the broker adds to those of a server that is too old to know it.
const ADDED_FOR_OLD_SERVERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];
/// What an npm server writes before the message of an error on the wire; the modern TypeScript client takes it off.
const ERROR_PREFIX: &str = "MCP error -32602: ";

/// A resource that is not there: until 2025-11-25, and since.
const RESOURCE_NOT_FOUND: i64 = -32002;
const INVALID_PARAMS: i64 = -32602;

/// Who asked, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    pub(super) sdk: Sdk,
    /// A modern client, and a server that had to be asked directly in the legacy era.
    pub(super) crosses_eras: bool,
}

impl Comparison {
    /// Takes off what may differ, on both sides alike.
    pub(super) fn normalise(self, outcome: &Value) -> Value {
        let mut outcome = outcome.clone();
        if let Some(result) = outcome.get_mut("ok").and_then(Value::as_object_mut) {
            // The broker names the server (its own view) or itself (the federated view) to clients of every era.
            remove_meta(result, SERVER_INFO);
            if self.crosses_eras {
                for key in ADDED_FOR_OLD_SERVERS {
                    result.remove(key);
                }
            }
        }
        // Offered to clients that have roots: the broker speaks for all of its clients, these ones have none.
        if let Some(tools) = outcome.pointer_mut("/ok/tools").and_then(Value::as_array_mut) {
            tools.retain(|tool| tool["name"] != "get-roots-list");
        }
        if self.crosses_eras && self.sdk == Sdk::TypeScriptModern {
            // The client drops a member of tools that 2026-07-28 no longer has.
            for tool in outcome.pointer_mut("/ok/tools").and_then(Value::as_array_mut).into_iter().flatten() {
                tool.as_object_mut().unwrap().remove("execution");
            }
            if let Some(Value::String(text)) = outcome.pointer_mut("/error/message") {
                *text = text.replacen(ERROR_PREFIX, "", 1);
            }
        }
        if self.sdk.era() == "legacy" && outcome.pointer("/error/code") == Some(&json!(RESOURCE_NOT_FOUND)) {
            // What rmcp says to legacy clients only; the broker asks it as a modern one.
            outcome["error"]["code"] = json!(INVALID_PARAMS);
        }
        outcome
    }

    /// What a server says of itself, without what its own view may say otherwise.
    pub(super) fn normalise_server(self, server: &Value) -> Value {
        let mut server = server.clone();
        let object = server.as_object_mut().unwrap();
        // The same facts once more, with the revisions that the broker serves.
        object.remove("discover");
        if self.crosses_eras {
            object.remove("era");
            object.remove("protocolVersion");
        }
        if let Some(capabilities) = object.get_mut("capabilities").and_then(Value::as_object_mut) {
            // An experiment of 2025-11-25 that 2026-07-28 dropped from the core.
            capabilities.remove("tasks");
            // What the broker makes of it: the extension of the same name.
            capabilities.remove("extensions");
            // The log level of a legacy session is kept by the broker, whatever the server can do.
            capabilities.remove("logging");
            // The broker finds changes by itself and announces them; legacy clients may subscribe to any resource.
            for offered in capabilities.values_mut().filter_map(Value::as_object_mut) {
                offered.remove("listChanged");
                offered.remove("subscribe");
            }
        }
        server
    }
}

fn remove_meta(result: &mut Map<String, Value>, key: &str) {
    let Some(Value::Object(meta)) = result.get_mut("_meta") else { return };
    meta.remove(key);
    if meta.is_empty() {
        result.remove("_meta");
    }
}

/// An outcome of the federated view as the server alone would give it: its own entries only, names and URIs mapped back.
pub(super) fn own_part(outcome: &Value, server: &str) -> Value {
    let mut outcome = outcome.clone();
    for (list, key, separator) in [
        ("tools", "name", "__"),
        ("prompts", "name", "__"),
        ("resources", "uri", "+"),
        ("resourceTemplates", "uriTemplate", "+"),
    ] {
        let prefix = format!("{server}{separator}");
        let entries = outcome.pointer_mut(&format!("/ok/{list}"));
        let Some(entries) = entries.and_then(Value::as_array_mut) else { continue };
        entries.retain(|entry| entry[key].as_str().unwrap().starts_with(&prefix));
        if key == "name" {
            for entry in entries {
                let own = entry[key].as_str().unwrap()[prefix.len()..].to_owned();
                entry[key] = Value::String(own);
            }
        }
    }
    own_uris(&mut outcome, &format!("{server}+"));
    outcome
}

/// Takes the prefix off every URI; one without it is left, so that the comparison finds it.
fn own_uris(value: &mut Value, prefix: &str) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "uri" || key == "uriTemplate" => {
                        if let Some(own) = text.strip_prefix(prefix) {
                            *text = own.to_owned();
                        } else {
                            text.insert_str(0, "not prefixed: ");
                        }
                    }
                    value => own_uris(value, prefix),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| own_uris(value, prefix)),
        _ => {}
    }
}

/// Every place where two documents differ.
pub(super) fn differences(direct: &Value, brokered: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(direct, brokered, "", &mut found);
    found
}

fn compare(direct: &Value, brokered: &Value, path: &str, found: &mut Vec<String>) {
    match (direct, brokered) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(a, b, &format!("{path}.{key}"), found),
                    (a, b) => found.push(format!("{path}.{key}: {} | {}", shown(a), shown(b))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(a, b, &format!("{path}[{index}]"), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{path}: {} | {}", shown(Some(a)), shown(Some(b)))),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| value.to_string().chars().take(200).collect())
}
