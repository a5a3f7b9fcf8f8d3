//! Which era a message belongs to, from how its client opens (2026-07-28, basic/versioning, "Backward Compatibility").

use std::{str::FromStr, sync::Arc};

use http::HeaderMap;
use spanwire_mcp::{Era, Json, Message, Method, Revision, header, meta};
use spanwire_model::{Error, ErrorKind};

use super::{
    gate::excerpt,
    legacy::{Found, Session},
    refusal::Refusal,
};

/// The revisions served over HTTP, newest first.
pub(crate) const SERVED: [Revision; 4] =
    [Revision::V2026_07_28, Revision::V2025_11_25, Revision::V2025_06_18, Revision::V2025_03_26];

/// How a message is to be served.
pub(crate) enum Opening {
    /// On its own, from its metadata.
    Modern,
    /// By opening a session.
    Initialize,
    /// By the session that it names.
    Session(Arc<Session>),
}

/// Chooses. `initialize` and a session mean legacy; modern metadata wins over a stray session header, which a modern
/// server ignores.
pub(crate) fn choose(headers: &HeaderMap, message: &Message, session: Found) -> Result<Opening, Refusal> {
    if matches!(message, Message::Request(request) if request.method == Method::Initialize) {
        return Ok(Opening::Initialize);
    }
    let version = version(headers)?;
    let revision = version.map(|text| Revision::from_str(text).ok().filter(|revision| SERVED.contains(revision)));
    if matches!(revision, Some(Some(revision)) if revision.era() == Era::Modern) || declares_version(message) {
        return Ok(Opening::Modern);
    }
    match (session, version) {
        (Found::Session(session), _) => Ok(Opening::Session(session)),
        (Found::Unknown, _) => Err(unknown_session()),
        (Found::Absent, None) => Err(Refusal::bad_request(
            ErrorKind::InvalidRequest,
            format!(
                "neither a modern request nor a session's: send header MCP-Protocol-Version: {} with the same version \
                 in params._meta, or send initialize first and then its Mcp-Session-Id",
                Revision::CANONICAL
            ),
        )),
        (Found::Absent, Some(version)) => match revision.flatten() {
            None => Err(unsupported(version)),
            Some(known) => Err(Refusal::bad_request(
                ErrorKind::InvalidRequest,
                format!("revision {known} needs a session: send initialize first and then its Mcp-Session-Id"),
            )),
        },
    }
}

/// The version header: absent, or one readable value.
pub(crate) fn version(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    super::agreement::single(headers, header::PROTOCOL_VERSION, "MCP-Protocol-Version")
}

/// True when the body carries a protocol version of its own.
fn declares_version(message: &Message) -> bool {
    let params = match message {
        Message::Request(request) => request.params.as_ref(),
        Message::Notification(notification) => notification.params.as_ref(),
        Message::Response(_) => None,
    };
    params.and_then(|params| params.get("_meta")).is_some_and(|meta| meta.get(meta::PROTOCOL_VERSION).is_some())
}

/// The session is gone, and what to do about it (2025-11-25, basic/transports, "Session Management").
pub(crate) fn unknown_session() -> Refusal {
    Refusal::of(Error::new(ErrorKind::SessionGone, "unknown or expired session: send initialize again"))
}

/// -32022 with what is served (2026-07-28, basic/versioning, "Protocol Version Negotiation").
pub(crate) fn unsupported(requested: &str) -> Refusal {
    let supported: Vec<&str> = SERVED.iter().map(|revision| revision.as_str()).collect();
    let requested = excerpt(requested);
    let data = serde_json::json!({ "supported": supported, "requested": requested });
    let error = Error::new(ErrorKind::UnsupportedVersion, format!("unsupported protocol version \"{requested}\""));
    Refusal::of(error.with_data(Json::from_trusted(data.to_string())))
}
