//! What tools, prompts and resources answer with.

use serde_json::{Value, json};
use spanwire_mcp::Revision;

/// `ttlMs` of every cacheable result.
pub(super) const TTL_MS: u64 = 60_000;

/// True for results that carry `ttlMs` and `cacheScope`.
pub(super) fn is_cacheable(method: &str) -> bool {
    matches!(method, "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "resources/read")
}

/// Every kind of content that a revision has. URIs are the server's own.
pub fn blocks(tag: &str, revision: Revision) -> Vec<Value> {
    let annotations = json!({ "audience": ["user", "assistant"], "priority": 0.75 });
    let mut all = vec![
        json!({ "type": "text", "text": format!("text of {tag} with \u{2028} \"quotes\" and \\uri"), "annotations": annotations }),
        json!({ "type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png" }),
    ];
    if revision >= Revision::V2025_03_26 {
        all.push(json!({ "type": "audio", "data": "UklGRg==", "mimeType": "audio/wav" }));
    }
    all.push(json!({
        "type": "resource",
        "resource": { "uri": format!("note://{tag}"), "mimeType": "text/plain", "text": format!("note of {tag}") },
    }));
    all.push(json!({
        "type": "resource",
        "resource": { "uri": format!("blob://{tag}"), "mimeType": "application/octet-stream", "blob": "AAEC" },
    }));
    if revision >= Revision::V2025_06_18 {
        all[0]["_meta"] = json!({ "x.test/block": tag });
        all.push(json!({
            "type": "resource_link",
            "uri": format!("note://{tag}"),
            "name": "note",
            "title": "Note",
            "description": "a link",
            "mimeType": "text/plain",
            "annotations": { "lastModified": "2026-01-01T00:00:00Z" },
        }));
    }
    all
}

/// Structured content; its `uri` is the tool's own and stays as it is.
pub fn structured(tag: &str) -> Value {
    json!({ "tag": tag, "list": [1, 2.5, -3], "nested": { "uri": format!("note://{tag}"), "none": null } })
}

/// The contents of a resource.
pub fn note(uri: &str) -> Vec<Value> {
    match uri {
        "ui://panel/main" => vec![json!({
            "uri": uri,
            "mimeType": "text/html;profile=mcp-app",
            "text": "<p>panel</p>",
            "_meta": { "ui": { "csp": { "connectDomains": ["https://example.com"] } } },
        })],
        _ => vec![
            json!({ "uri": uri, "mimeType": "text/plain", "text": format!("note at {uri}") }),
            json!({ "uri": format!("{uri}/part"), "mimeType": "application/octet-stream", "blob": "AAEC" }),
        ],
    }
}

/// `completion/complete`: what was typed with three endings.
pub(super) fn completion(params: &Value) -> Value {
    let typed = params["argument"]["value"].as_str().unwrap_or_default();
    let values = ["one", "two", "three"].map(|end| format!("{typed}-{end}"));
    json!({ "completion": { "values": values, "total": 7, "hasMore": true } })
}
