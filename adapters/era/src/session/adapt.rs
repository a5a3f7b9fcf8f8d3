//! Params that the revisions write differently: what a server asks of a client, and what a client declares.

use spanwire_mcp::{Json, Method, ObjectWriter, Revision, input::InputRequest, string_literal, tasks};

/// The params of a request to a client of this revision. `id` is unique in the session.
pub(super) fn params(revision: Revision, request: &InputRequest, id: &str) -> Option<Json> {
    let params = request.params.as_ref()?;
    Some(match request.method {
        Method::ElicitationCreate => elicitation(revision, params, id),
        Method::SamplingCreateMessage if revision < Revision::V2025_11_25 => single_contents(params),
        _ => params.clone(),
    })
}

/// Only 2025-11-25 names a URL elicitation, so that a notification can say that it is done; older revisions know forms only, and
/// do not say so.
fn elicitation(revision: Revision, params: &Json, id: &str) -> Json {
    let mode = params.get("mode").and_then(|mode| mode.read::<String>().ok());
    match mode.as_deref() {
        Some("url") if revision >= Revision::V2025_11_25 && params.get("elicitationId").is_none() => {
            params.with(&[("elicitationId", string_literal(id).as_bytes())], &[])
        }
        Some("form") if revision < Revision::V2025_11_25 => params.with(&[], &["mode"]),
        _ => params.clone(),
    }
}

/// Before 2025-11-25 a sampling message has one content: a list of contents becomes as many messages.
fn single_contents(params: &Json) -> Json {
    let Some(messages) = params.get("messages") else { return params.clone() };
    let is_list = |message: &Json| message.get("content").is_some_and(|content| content.as_bytes().starts_with(b"["));
    if !messages.elements().any(|message| is_list(&message)) {
        return params.clone();
    }
    let mut written: Vec<Json> = Vec::new();
    for message in messages.elements() {
        match message.get("content").filter(|_| is_list(&message)) {
            Some(contents) => {
                written.extend(contents.elements().map(|one| message.with(&[("content", one.as_bytes())], &[])));
            }
            None => written.push(message),
        }
    }
    let written = Json::from_serialize(&written).unwrap_or(messages);
    params.with(&[("messages", written.as_bytes())], &[])
}

/// What a client declared in `initialize`, as 2026-07-28 has it: roots have no notification, and the tasks of 2025-11-25 are none of
/// its capabilities. What is no object declares nothing.
pub(super) fn capabilities(declared: &Json) -> Json {
    let mut out = ObjectWriter::with_capacity(declared.len());
    for entry in declared.entries() {
        if !entry.value.starts_with(b"{") || entry.has_key("tasks") {
            continue;
        }
        if entry.has_key("extensions") {
            // A session sees to tasks itself: a call that is none must not come back as one.
            let extensions = Json::from_trusted(declared.as_bytes().slice(entry.value_range));
            out.raw_member(entry.raw_key, extensions.with(&[], &[tasks::EXTENSION]).as_bytes());
            continue;
        }
        out.raw_member(entry.raw_key, if entry.has_key("roots") { b"{}" } else { entry.value });
    }
    out.finish()
}
