//! What comes back from a server, in the canonical form.

use bytes::{BufMut, BytesMut};
use spanwire_mcp::{Json, Method, Notification, meta};
use spanwire_model::{Error, ErrorKind, Event, Outcome};

/// What the result of a legacy server begins with: an edge that serves a legacy client cuts it off again.
pub const COMPLETE_PREFIX: &[u8] = b"{\"resultType\":\"complete\",";

/// The eight levels of RFC 5424 that MCP names, least severe first.
pub(super) const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Completes the result of a legacy server. The added members stand in front; what came keeps its bytes.
pub(super) fn complete(method: &Method, result: &Json) -> Outcome {
    if !result.is_object() {
        let text = format!("the server answered {method} with a result that is no object");
        return Err(Error::new(ErrorKind::BadServer, text));
    }
    let cacheable = is_cacheable(method);
    let mut front = BytesMut::with_capacity(result.len() + 80);
    front.put_u8(b'{');
    let mut add = |key: &str, member: &[u8]| {
        if result.get(key).is_none() {
            front.put_slice(member);
        }
    };
    add("resultType", b"\"resultType\":\"complete\",");
    if cacheable {
        add("ttlMs", b"\"ttlMs\":0,");
        add("cacheScope", b"\"cacheScope\":\"private\",");
    }
    if front.len() == 1 {
        return Ok(result.clone());
    }
    if result.entries().next().is_none() {
        front.truncate(front.len() - 1);
        front.put_u8(b'}');
    } else {
        front.put_slice(result.as_bytes().get(1..).unwrap_or_default());
    }
    Ok(Json::from_trusted(front.freeze()))
}

/// Results that must say how long they may be kept (2026-07-28, server/utilities/caching).
fn is_cacheable(method: &Method) -> bool {
    matches!(
        method,
        Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
            | Method::Discover
    )
}

/// Puts the caller's token into a progress notification; `None` when the caller gave none.
pub(super) fn progress(notification: Notification, token: Option<&Json>) -> Option<Event> {
    let token = token?;
    let params = notification.params.as_ref()?.with(&[(meta::PROGRESS_TOKEN, token.as_bytes())], &[]);
    Some(Event::Progress(Notification { params: Some(params), ..notification }))
}

/// Takes the server's subscription id out of an object's `_meta`.
pub(super) fn without_subscription_id(object: Json) -> Json {
    let Some(meta_in) = object.get("_meta").filter(|meta_in| meta_in.get(meta::SUBSCRIPTION_ID).is_some()) else {
        return object;
    };
    let meta_out = meta_in.with(&[], &[meta::SUBSCRIPTION_ID]);
    if meta_out.entries().next().is_none() {
        return object.with(&[], &["_meta"]);
    }
    object.with(&[("_meta", meta_out.as_bytes())], &[])
}

/// True when a log message is at least as severe as the level that the caller asked for. A caller that asked for none
/// gets none; a level outside the eight passes.
pub(super) fn is_wanted(log: &Notification, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return false };
    let level = log.params.as_ref().and_then(|params| params.get("level")?.read::<String>().ok());
    match (level.as_deref().and_then(rank), rank(wanted)) {
        (Some(level), Some(wanted)) => level >= wanted,
        _ => true,
    }
}

/// Where a level stands among the eight, the least severe one first; `None` for any other text.
pub(super) fn rank(name: &str) -> Option<usize> {
    LEVELS.iter().position(|level| *level == name)
}

/// True for a message of a task of 2025-11-25, which belongs to no call in flight (basic/utilities/tasks, "Related Task Metadata").
pub(super) fn is_of_task(params: Option<&Json>) -> bool {
    let meta_in = params.and_then(|params| params.get("_meta"));
    meta_in.is_some_and(|meta_in| meta_in.get(meta::RELATED_TASK).is_some())
}
