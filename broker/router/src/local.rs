//! What the broker answers itself: discovery and lists, from the snapshot.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use spanwire_catalog::{Page, Snapshot, View};
use spanwire_mcp::{Era, Json, ObjectWriter, Revision, meta, string_literal, tasks};
use spanwire_model::{Call, Error, ErrorKind, ListKind, Outcome, ServerFacts, ServerId};
use spanwire_policy::Policy;

use crate::Inner;

/// How long a client may keep what discovery said, in milliseconds. Changes are announced besides.
const DISCOVER_TTL_MS: u64 = 60_000;

/// Longest instructions that are put together from those of the servers, in bytes.
const MAX_INSTRUCTIONS: usize = 16 * 1024;

/// The revisions that edges serve, newest first. One that serves less says so itself.
const SERVED: [Revision; 4] =
    [Revision::V2026_07_28, Revision::V2025_11_25, Revision::V2025_06_18, Revision::V2025_03_26];

/// The result of `server/discover` (2026-07-28, server/discover). The view of a single server speaks for that server.
pub(crate) fn discover(inner: &Inner, view: &View, policy: &Policy, call: &Call) -> Json {
    let sole = if view.rewrites_uris() { None } else { view.facts().next().map(|(_, facts)| facts) };
    let versions: Vec<&str> = SERVED.iter().map(|revision| revision.as_str()).collect();
    let versions = serde_json::to_vec(&versions).unwrap_or_default();
    let mut out = ObjectWriter::with_capacity(1024);
    out.member("resultType", b"\"complete\"");
    out.member("supportedVersions", &versions);
    out.member("capabilities", capabilities(sole, view, |server| shows(view, policy, call, server)).as_bytes());
    let instructions = match sole {
        Some(facts) => facts.instructions.clone(),
        None => joined_instructions(view, |server| shows(view, policy, call, server)),
    };
    if let Some(text) = instructions {
        out.member("instructions", string_literal(&text).as_bytes());
    }
    out.member("ttlMs", DISCOVER_TTL_MS.to_string().as_bytes());
    out.member("cacheScope", if policy.varies_by_caller() { b"\"private\"" } else { b"\"public\"" });
    out.member("_meta", server_meta(inner, sole, call.view.as_deref()).as_bytes());
    out.finish()
}

fn capabilities(sole: Option<&ServerFacts>, view: &View, shown: impl Fn(&ServerId) -> bool) -> Json {
    match sole {
        // A server's own, with what the broker adds: it announces changes that it finds itself.
        Some(facts) => {
            let mut capabilities = facts.capabilities.clone();
            for key in ["tools", "prompts", "resources"] {
                if let Some(own) = capabilities.get(key).filter(Json::is_object) {
                    let own = own.with(&[("listChanged", b"true")], &[]);
                    capabilities = capabilities.with(&[(key, own.as_bytes())], &[]);
                }
            }
            capabilities
        }
        None => {
            let mut out = ObjectWriter::with_capacity(256);
            out.member("tools", b"{\"listChanged\":true}");
            out.member("prompts", b"{\"listChanged\":true}");
            out.member("resources", b"{\"subscribe\":true,\"listChanged\":true}");
            if view.facts().any(|(_, facts)| facts.has("completions")) {
                out.member("completions", b"{}");
            }
            if view.facts().any(|(_, facts)| facts.has("logging")) {
                out.member("logging", b"{}");
            }
            for key in ["extensions", "experimental"] {
                let declared = view.facts().filter_map(|(server, facts)| Some((server, facts.capabilities.get(key)?)));
                if let Some(joined) = joined(declared.filter(|(server, _)| shown(server)).map(|(_, own)| own)) {
                    out.member(key, joined.as_bytes());
                }
            }
            out.finish()
        }
    }
}

/// What any of the servers announces, by key. Settings that they do not agree on are left out: a key with an empty object says
/// that the extension is there (2026-07-28, basic/versioning, "Extension Negotiation").
fn joined(declared: impl Iterator<Item = Json>) -> Option<Json> {
    let mut all: BTreeMap<String, Json> = BTreeMap::new();
    for own in declared {
        for entry in own.entries() {
            let value = Json::from_trusted(entry.value.to_vec());
            let known = all.entry(entry.key()).or_insert_with(|| value.clone());
            if *known != value {
                *known = Json::empty_object();
            }
        }
    }
    let mut out = ObjectWriter::with_capacity(256);
    all.iter().for_each(|(key, value)| out.member(key, value.as_bytes()));
    (!all.is_empty()).then(|| out.finish())
}

/// Whether the caller may see anything of a server: if not, its instructions are not for the caller either.
fn shows(view: &View, policy: &Policy, call: &Call, server: &ServerId) -> bool {
    !policy.varies_by_caller()
        || ListKind::ALL.into_iter().any(|kind| {
            let mut entries = view.section(kind).entries().iter().filter(|entry| entry.server == *server);
            entries.any(|entry| policy.allows(&call.principal, kind, &entry.canonical))
        })
}

fn joined_instructions(view: &View, shown: impl Fn(&ServerId) -> bool) -> Option<String> {
    let mut text = String::new();
    for (server, facts) in view.facts().filter(|(server, _)| shown(server)) {
        if let Some(own) = facts.instructions.as_ref().filter(|own| !own.is_empty()) {
            let part = format!("## {server}\n{own}\n\n");
            if text.len() + part.len() <= MAX_INSTRUCTIONS {
                text.push_str(&part);
            }
        }
    }
    (!text.is_empty()).then(|| text.trim_end().to_owned())
}

fn server_meta(inner: &Inner, sole: Option<&ServerFacts>, view: Option<&str>) -> Json {
    let info = match sole {
        Some(facts) if facts.info.is_object() => facts.info.clone(),
        Some(_) | None => {
            let title = view.map_or_else(|| "Spanwire".to_owned(), |view| format!("Spanwire: {view}"));
            let mut info = ObjectWriter::with_capacity(128);
            info.member("name", b"\"spanwire\"");
            info.member("title", string_literal(&title).as_bytes());
            info.member("version", string_literal(&inner.config.version).as_bytes());
            info.finish()
        }
    };
    let mut out = ObjectWriter::with_capacity(128);
    out.member(meta::SERVER_INFO, info.as_bytes());
    out.finish()
}

/// One page of a list (2026-07-28, server/utilities/pagination and caching).
pub(crate) fn list(
    inner: &Inner,
    snapshot: &Snapshot,
    view: &View,
    policy: &Policy,
    call: &Call,
    kind: ListKind,
    cursor: Option<&str>,
) -> Outcome {
    let page = view
        .section(kind)
        .page(cursor, snapshot.page_size, |entry| policy.allows(&call.principal, kind, &entry.canonical))
        .map_err(|error| Error::new(ErrorKind::InvalidParams, error.to_string()))?;
    let private = view.private || policy.varies_by_caller();
    let sole = if view.rewrites_uris() { None } else { view.facts().next().map(|(_, facts)| facts) };
    let mut out =
        ObjectWriter::with_capacity(256 + page.entries.iter().map(|entry| entry.json.len() + 1).sum::<usize>());
    out.member("resultType", b"\"complete\"");
    let as_tasks = may_be_tasks(view, call, kind);
    out.member(kind.member(), &array(&page, &as_tasks));
    if let Some(next) = &page.next_cursor {
        out.member("nextCursor", string_literal(next).as_bytes());
    }
    out.member("ttlMs", view.ttl_ms.to_string().as_bytes());
    out.member("cacheScope", if private { b"\"private\"" } else { b"\"public\"" });
    out.member("_meta", server_meta(inner, sole, call.view.as_deref()).as_bytes());
    Ok(out.finish())
}

/// Servers whose tools a client of 2025-11-25 may call as tasks although their listings do not say so: the extension leaves it to the
/// server, the older form wants it in the listing (2025-11-25, basic/utilities/tasks, "Tool-Level Negotiation").
fn may_be_tasks<'a>(view: &'a View, call: &Call, kind: ListKind) -> Vec<&'a ServerId> {
    if kind != ListKind::Tools || call.client.revision != Revision::V2025_11_25 {
        return Vec::new();
    }
    let with_tasks =
        view.facts().filter(|(_, facts)| facts.era() == Era::Modern && tasks::is_declared(&facts.capabilities));
    with_tasks.map(|(server, _)| server).collect()
}

/// A tool that may be called as a task says so.
fn as_task(tool: &Json) -> Json {
    match tool.get("execution") {
        Some(_) => tool.clone(),
        None => tool.with(&[("execution", b"{\"taskSupport\":\"optional\"}")], &[]),
    }
}

fn array(page: &Page<'_>, as_tasks: &[&ServerId]) -> BytesMut {
    let mut out = BytesMut::with_capacity(2 + page.entries.iter().map(|entry| entry.json.len() + 1).sum::<usize>());
    out.put_u8(b'[');
    for (index, entry) in page.entries.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        if as_tasks.contains(&&entry.server) {
            out.put_slice(as_task(&entry.json).as_bytes());
        } else {
            out.put_slice(entry.json.as_bytes());
        }
    }
    out.put_u8(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_of_several_servers_are_joined() {
        let check = |declared: &[&'static str], expected: Option<&str>| {
            let joined = joined(declared.iter().map(|text| Json::from_trusted(*text)));
            assert_eq!(joined.as_ref().map(Json::as_str), expected, "{declared:?}");
        };
        check(&[], None);
        check(&["{}", "7"], None);
        check(&[r#"{"a/b":{"x": 1}}"#], Some(r#"{"a/b":{"x": 1}}"#));
        check(&[r#"{"b":{"x":1}}"#, r#"{"a":{},"b":{"x":1}}"#], Some(r#"{"a":{},"b":{"x":1}}"#));
        check(&[r#"{"b":{"x":1}}"#, r#"{"b":{"x":2}}"#, r#"{"b":{"x":1}}"#], Some(r#"{"b":{}}"#));
    }
}
