//! Resource URIs inside results and notifications: the server's own become exposed ones.

use memchr::memmem;
use spanwire_mcp::{Json, Method, string_literal};
use spanwire_model::{ListKind, ServerId};

use crate::name;

/// How the keys end that hold resource URIs: `uri`, and `resourceUri` and `ui/resourceUri` of MCP Apps.
const KEYS_END: &[u8] = b"ri\"";

/// Rewrites the resource URIs of a result or of a notification's params so that a client can use them in this view
/// (2026-07-28, server/tools "Resource Links" and "Embedded Resources", server/prompts, server/resources; SEP-1865, "Resource
/// Discovery"). A body without a URI is returned untouched, after one fast search. Structured content and text belong to the
/// tool and are never changed.
pub fn expose_uris(method: &Method, server: &ServerId, body: &Json) -> Json {
    if !may_hold_uris(body.as_bytes()) {
        return body.clone();
    }
    match method {
        Method::ToolsCall => {
            let result = map_member(body, "content", |content| map_blocks(&content, server));
            app_uris(&result, server)
        }
        Method::PromptsGet => map_member(body, "messages", |messages| {
            map_elements(&messages, |message| map_member(&message, "content", |content| map_blocks(&content, server)))
        }),
        Method::ResourcesRead => {
            map_member(body, "contents", |contents| map_elements(&contents, |content| expose_uri(&content, server)))
        }
        Method::ResourceUpdated => expose_uri(body, server),
        // A task holds the result of its tool.
        Method::TasksGet | Method::TaskStatus => {
            map_member(body, "result", |result| expose_uris(&Method::ToolsCall, server, &result))
        }
        _ => body.clone(),
    }
}

/// Rewrites where the `_meta` of a tool or of its result names the resource of an app (SEP-1865, "Resource Discovery"), in both
/// of the forms that there are.
pub(crate) fn app_uris(object: &Json, server: &ServerId) -> Json {
    // Nearly every tool ends here.
    if memmem::find(object.as_bytes(), b"esourceUri\"").is_none() {
        return object.clone();
    }
    map_member(object, "_meta", |meta| {
        let meta = map_member(&meta, "ui", |ui| map_member(&ui, "resourceUri", |uri| exposed(uri, server)));
        map_member(&meta, "ui/resourceUri", |uri| exposed(uri, server))
    })
}

/// One search for all keys that matter.
fn may_hold_uris(body: &[u8]) -> bool {
    memmem::find_iter(body, KEYS_END).any(|at| {
        let key = &body[..at + KEYS_END.len()];
        key.ends_with(b"\"uri\"") || key.ends_with(b"esourceUri\"")
    })
}

/// The `uri` member of a notification's params.
pub fn resource_uri_of(params: &Json) -> Option<String> {
    params.get("uri")?.read().ok()
}

/// One content block, or an array of them.
fn map_blocks(content: &Json, server: &ServerId) -> Json {
    if content.is_object() {
        map_block(content, server)
    } else {
        map_elements(content, |block| map_block(&block, server))
    }
}

fn map_block(block: &Json, server: &ServerId) -> Json {
    let kind: Option<String> = block.get("type").and_then(|kind| kind.read().ok());
    match kind.as_deref() {
        Some("resource_link") => expose_uri(block, server),
        Some("resource") => map_member(block, "resource", |resource| expose_uri(&resource, server)),
        _ => block.clone(),
    }
}

fn expose_uri(object: &Json, server: &ServerId) -> Json {
    map_member(object, "uri", |uri| exposed(uri, server))
}

/// A URI as this view has it. What is no text stays what it is.
fn exposed(uri: Json, server: &ServerId) -> Json {
    match uri.read::<String>() {
        Ok(own) => Json::from_trusted(string_literal(&name::exposed(ListKind::Resources, server, &own))),
        Err(_) => uri,
    }
}

fn map_member(object: &Json, key: &str, map: impl FnOnce(Json) -> Json) -> Json {
    match object.get(key) {
        Some(value) => object.with(&[(key, map(value).as_bytes())], &[]),
        None => object.clone(),
    }
}

fn map_elements(array: &Json, map: impl Fn(Json) -> Json) -> Json {
    if array.as_bytes().first() != Some(&b'[') {
        return array.clone();
    }
    let mut out = Vec::with_capacity(array.len() + 64);
    out.push(b'[');
    for (index, element) in array.elements().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(map(element).as_bytes());
    }
    out.push(b']');
    Json::from_trusted(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn uris_are_exposed_where_the_specification_puts_them() {
        let server: ServerId = "fs".parse().unwrap();
        let check = |method: Method, body: &'static str, expected: &str| {
            assert_eq!(expose_uris(&method, &server, &Json::from_trusted(body)).as_str(), expected);
        };
        check(
            Method::ToolsCall,
            r#"{"content":[{"type":"text","text":"\"uri\""},{"type":"resource_link","uri":"file:///a","name":"a"},{"type":"resource","resource":{"uri":"x:1","text":""}}],"structuredContent":{"uri":"mine"}}"#,
            r#"{"content":[{"type":"text","text":"\"uri\""},{"type":"resource_link","uri":"fs+file:///a","name":"a"},{"type":"resource","resource":{"uri":"fs+x:1","text":""}}],"structuredContent":{"uri":"mine"}}"#,
        );
        check(
            Method::PromptsGet,
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x:1"}}}]}"#,
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"fs+x:1"}}}]}"#,
        );
        check(
            Method::ResourcesRead,
            r#"{"contents":[{"uri":"x:1","blob":""}]}"#,
            r#"{"contents":[{"uri":"fs+x:1","blob":""}]}"#,
        );
        check(Method::ResourceUpdated, r#"{"uri":"x:1"}"#, r#"{"uri":"fs+x:1"}"#);
        for method in [Method::TasksGet, Method::TaskStatus] {
            check(
                method,
                r#"{"taskId":"t","result":{"content":[{"type":"resource_link","uri":"x:1"}]}}"#,
                r#"{"taskId":"t","result":{"content":[{"type":"resource_link","uri":"fs+x:1"}]}}"#,
            );
        }
        check(Method::ToolsCall, r#"{"content": [ ]}"#, r#"{"content": [ ]}"#);
        // What is no key of ours keeps every byte.
        let untouched = r#"{"content": [{"text":"\"uri\" Uri\" of"}], "Uri":"x:1", "_meta": {"ui": {"csp": []}}}"#;
        check(Method::ToolsCall, untouched, untouched);
    }

    #[test]
    fn uris_of_apps_are_exposed_with_their_scheme() {
        let server: ServerId = "charts".parse().unwrap();
        let check = |method: Method, body: &'static str, expected: &str| {
            assert_eq!(expose_uris(&method, &server, &Json::from_trusted(body)).as_str(), expected);
        };
        check(
            Method::ToolsCall,
            r#"{"content":[{"type":"resource","resource":{"uri":"ui://bar","text":"<p>"}}],"structuredContent":{"resourceUri":"ui://bar"},"_meta":{"ui":{"resourceUri":"ui://bar","csp":{"connectDomains":["https://x"]}}}}"#,
            r#"{"content":[{"type":"resource","resource":{"uri":"ui://charts+bar","text":"<p>"}}],"structuredContent":{"resourceUri":"ui://bar"},"_meta":{"ui":{"resourceUri":"ui://charts+bar","csp":{"connectDomains":["https://x"]}}}}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"content":[],"_meta":{"ui/resourceUri":"ui://bar"}}"#,
            r#"{"content":[],"_meta":{"ui/resourceUri":"ui://charts+bar"}}"#,
        );
        check(
            Method::ResourcesRead,
            r#"{"contents":[{"uri":"ui://bar","mimeType":"text/html;profile=mcp-app","text":"","_meta":{"ui":{"csp":{}}}}]}"#,
            r#"{"contents":[{"uri":"ui://charts+bar","mimeType":"text/html;profile=mcp-app","text":"","_meta":{"ui":{"csp":{}}}}]}"#,
        );
        check(Method::ResourceUpdated, r#"{"uri":"ui://bar"}"#, r#"{"uri":"ui://charts+bar"}"#);
    }
}
