//! What a scripted server offers, in the form of its revision.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};

use super::{error, is_modern};

/// Entries of one page.
const PAGE: usize = 4;

/// One of the four lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

impl Listed {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}

/// `x://{tag}` as a template.
pub fn template(scheme: &str) -> String {
    format!("{scheme}://{{tag}}")
}

/// The result of `initialize`.
pub(super) fn greeting(revision: Revision) -> Value {
    json!({
        "protocolVersion": revision.as_str(),
        "capabilities": capabilities(revision),
        "serverInfo": info(revision),
        "instructions": "Ask for a tool by its name.",
    })
}

/// The result of `server/discover`.
pub(super) fn discovery(revision: Revision, also: Option<Revision>) -> Value {
    let versions: Vec<&str> = [Some(revision), also].into_iter().flatten().map(Revision::as_str).collect();
    json!({
        "supportedVersions": versions,
        "capabilities": capabilities(revision),
        "instructions": "Ask for a tool by its name.",
        "ttlMs": 60_000,
        "cacheScope": "public",
        "_meta": { meta::SERVER_INFO: info(revision) },
    })
}

fn info(revision: Revision) -> Value {
    let mut info = json!({ "name": "scripted", "version": revision.as_str() });
    if revision >= Revision::V2025_06_18 {
        info["title"] = "Scripted".into();
    }
    info
}

fn capabilities(revision: Revision) -> Value {
    let mut all = json!({
        "logging": {},
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "tools": { "listChanged": true },
    });
    if revision >= Revision::V2025_03_26 {
        all["completions"] = json!({});
    }
    if revision == Revision::V2025_11_25 {
        all["tasks"] = json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } });
    }
    if is_modern(revision) {
        all["extensions"] = json!({ super::TASKS: {}, "io.modelcontextprotocol/ui": {} });
    }
    all
}

/// One page of a list.
pub(super) fn page(
    method: &str,
    params: &Value,
    revision: Revision,
    added: &BTreeSet<(String, String)>,
) -> Result<Value, Value> {
    let Some(listed) = Listed::ALL.into_iter().find(|listed| listed.method() == method) else {
        return Err(error(codes::METHOD_NOT_FOUND, method, Value::Null));
    };
    let mut all = entries(listed, revision);
    all.extend(added.iter().filter(|(list, _)| list == listed.member()).map(|(_, name)| extra(listed, name)));
    let from = match params.get("cursor").and_then(Value::as_str) {
        None => 0,
        Some(cursor) => match cursor.strip_prefix("after ").and_then(|from| from.parse::<usize>().ok()) {
            Some(from) if from <= all.len() => from,
            _ => return Err(error(codes::INVALID_PARAMS, "bad cursor", Value::Null)),
        },
    };
    let mut result = json!({ listed.member(): all.iter().skip(from).take(PAGE).collect::<Vec<_>>() });
    if from + PAGE < all.len() {
        result["nextCursor"] = format!("after {}", from + PAGE).into();
    }
    Ok(result)
}

fn extra(listed: Listed, name: &str) -> Value {
    match listed {
        Listed::Tools => json!({ "name": name, "inputSchema": { "type": "object" } }),
        Listed::Prompts => json!({ "name": name }),
        Listed::Resources => json!({ "name": name, "uri": format!("extra://{name}") }),
        Listed::Templates => json!({ "name": name, "uriTemplate": template(name) }),
    }
}

/// Everything that a server of a revision lists, without what a test has added.
pub fn entries(listed: Listed, revision: Revision) -> Vec<Value> {
    match listed {
        Listed::Tools => tools(revision),
        Listed::Prompts => prompts(revision),
        Listed::Resources => resources(revision),
        Listed::Templates => ["note", "ask_resource", "watch"]
            .map(|name| json!({ "name": name, "uriTemplate": template(&name.replace('_', "-")), "mimeType": "text/plain" }))
            .to_vec(),
    }
}

/// A tool's input: JSON Schema 2020-12 with references, where a revision has it.
fn input(name: &str, revision: Revision) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": { "tag": { "type": "string" } },
        "required": ["tag"],
    });
    if name == "structured" && revision >= Revision::V2025_06_18 {
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
        schema["$defs"] = json!({ "point": {
            "type": "object",
            "properties": { "x": { "type": "number" }, "next": { "$ref": "#/$defs/point" } },
            "unevaluatedProperties": false,
        } });
        schema["properties"]["from"] = json!({ "$ref": "#/$defs/point" });
        schema["anyOf"] = json!([{ "required": ["tag"] }, { "required": ["from"] }]);
    }
    if name == "headers" && is_modern(revision) {
        schema["properties"]["region"] = json!({ "type": "string", "x-mcp-header": "Region" });
        schema["properties"]["count"] = json!({ "type": "integer", "x-mcp-header": "Count" });
        let dry = json!({ "dry": { "type": "boolean", "x-mcp-header": "Dry" } });
        schema["properties"]["options"] = json!({ "type": "object", "properties": dry });
    }
    schema
}

const TOOLS: [&str; 25] = [
    "echo",
    "fail",
    "refuse",
    "structured",
    "content_all_kinds",
    "headers",
    "progress",
    "log_levels",
    "hold",
    "release",
    "slow_until_cancelled",
    "ping_client",
    "update_resource",
    "change_list",
    "ask_form",
    "ask_url",
    "ask_sample",
    "ask_roots",
    "ask_two_at_once",
    "ask_three_rounds",
    "ask_and_never_returns",
    "task_simple",
    "task_asks",
    "task_hangs",
    "panel",
];

fn tools(revision: Revision) -> Vec<Value> {
    let one = |name: &str| {
        let mut tool =
            json!({ "name": name, "description": format!("does {name}"), "inputSchema": input(name, revision) });
        if name == "structured" && revision >= Revision::V2025_03_26 {
            tool["annotations"] =
                json!({ "title": "Structure", "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false });
        }
        if name == "structured" && revision >= Revision::V2025_06_18 {
            tool["title"] = "Structured".into();
            tool["_meta"] = json!({ "x.test/own": { "deep": [1, null, "ü"] } });
            tool["outputSchema"] = json!({
                "type": "object",
                "properties": { "tag": { "type": "string" }, "list": { "type": "array", "items": { "$ref": "#/$defs/n" } } },
                "$defs": { "n": { "type": "number" } },
                "required": ["tag"],
            });
        }
        if name == "structured" && revision >= Revision::V2025_11_25 {
            tool["icons"] =
                json!([{ "src": "data:image/png;base64,AAAA", "mimeType": "image/png", "sizes": ["48x48"] }]);
        }
        if name.starts_with("task_") && revision == Revision::V2025_11_25 {
            tool["execution"] = json!({ "taskSupport": "optional" });
        }
        if name == "panel" && revision >= Revision::V2025_06_18 {
            tool["_meta"] = json!({ "ui": { "resourceUri": "ui://panel/main", "visibility": ["model", "app"] } });
        }
        tool
    };
    TOOLS.iter().map(|name| one(name)).collect()
}

fn prompts(revision: Revision) -> Vec<Value> {
    let argument = json!({ "name": "tag", "description": "whose", "required": true });
    let mut all: Vec<Value> = ["plain", "ask_prompt", "third", "fourth", "fifth"]
        .iter()
        .map(|name| json!({ "name": name, "description": "a prompt", "arguments": [argument] }))
        .collect();
    if revision >= Revision::V2025_06_18 {
        all[0]["title"] = "Plain".into();
        all[0]["_meta"] = json!({ "x.test/own": true });
    }
    if revision >= Revision::V2025_11_25 {
        all[0]["icons"] = json!([{ "src": "https://example.com/p.svg", "mimeType": "image/svg+xml" }]);
    }
    all
}

fn resources(revision: Revision) -> Vec<Value> {
    let mut all = vec![
        json!({ "name": "fixed", "uri": "note://fixed", "description": "a note", "mimeType": "text/plain" }),
        json!({ "name": "panel", "uri": "ui://panel/main", "mimeType": "text/html;profile=mcp-app" }),
    ];
    all[0]["annotations"] = json!({ "audience": ["user"], "priority": 0.5 });
    if revision >= Revision::V2025_03_26 {
        all[0]["size"] = 16.into();
    }
    if revision >= Revision::V2025_06_18 {
        all[0]["title"] = "Fixed".into();
        all[0]["annotations"]["lastModified"] = "2026-01-01T00:00:00Z".into();
        all[1]["_meta"] = json!({ "ui": { "prefersBorder": true } });
    }
    if revision >= Revision::V2025_11_25 {
        all[0]["icons"] = json!([{ "src": "https://example.com/n.png" }]);
    }
    all
}
