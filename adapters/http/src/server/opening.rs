//! Which era a message belongs to, from how its client opens (2026-07-28, basic/versioning, "Backward Compatibility").

use std::{str::FromStr, sync::Arc};

use http::HeaderMap;
use spanwire_mcp::{Era, Json, Message, Method, Request, Revision, header, meta};
use spanwire_model::{EraChoice, Error, ErrorKind};

use super::{
    gate::excerpt,
    legacy::{Found, Session},
    refusal::Refusal,
    relay::Elsewhere,
};

/// The revisions served over Streamable HTTP, newest first.
const SERVED: [Revision; 4] =
    [Revision::V2026_07_28, Revision::V2025_11_25, Revision::V2025_06_18, Revision::V2025_03_26];
/// How many of them are modern.
const MODERN: usize = 1;

/// The revisions that a listener serves, newest first.
pub(crate) fn served(era: EraChoice) -> &'static [Revision] {
    match era {
        EraChoice::Auto => &SERVED,
        EraChoice::Modern => &SERVED[..MODERN],
        EraChoice::Legacy => &SERVED[MODERN..],
    }
}

/// How a message is to be served.
pub(crate) enum Opening {
    /// On its own, from its metadata.
    Modern,
    /// By opening a session.
    Initialize,
    /// By the session that it names.
    Session(Arc<Session>),
    /// By the session of another node that it names.
    Elsewhere(Elsewhere),
}

/// Chooses among what the listener serves. `initialize` and a session mean legacy; modern metadata wins over a stray
/// session header, which a modern server ignores.
pub(crate) fn choose(
    era: EraChoice,
    headers: &HeaderMap,
    message: &Message,
    session: Found,
) -> Result<Opening, Refusal> {
    let initialize = match message {
        Message::Request(request) if request.method == Method::Initialize => Some(request),
        Message::Request(_) | Message::Notification(_) | Message::Response(_) => None,
    };
    match (era, initialize) {
        (EraChoice::Modern, Some(request)) => Err(no_handshake(request)),
        // Whatever is missing for a modern request is told as such.
        (EraChoice::Modern, None) => Ok(Opening::Modern),
        // Modern metadata says that the handshake is not meant: its method does not exist there.
        (EraChoice::Auto, Some(_)) if declares_version(message) => Ok(Opening::Modern),
        (EraChoice::Auto | EraChoice::Legacy, Some(_)) => Ok(Opening::Initialize),
        (EraChoice::Auto, None) => either(headers, message, session),
        (EraChoice::Legacy, None) => match session {
            Found::Session(session) => Ok(Opening::Session(session)),
            Found::Elsewhere(session) => Ok(Opening::Elsewhere(session)),
            Found::Unknown => Err(unknown_session()),
            Found::Absent => Err(legacy_only()),
        },
    }
}

fn either(headers: &HeaderMap, message: &Message, session: Found) -> Result<Opening, Refusal> {
    let version = version(headers)?;
    let revision = version.map(|text| Revision::from_str(text).ok().filter(|revision| SERVED.contains(revision)));
    if matches!(revision, Some(Some(revision)) if revision.era() == Era::Modern) || declares_version(message) {
        return Ok(Opening::Modern);
    }
    match (session, version) {
        (Found::Session(session), _) => Ok(Opening::Session(session)),
        (Found::Elsewhere(session), _) => Ok(Opening::Elsewhere(session)),
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
            None => Err(unsupported(EraChoice::Auto, version)),
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

/// `initialize` where there are no sessions: the answer names what is spoken, since an older client can show nothing else
/// (2026-07-28, basic/versioning, "Backward Compatibility with Initialization-Based Versions").
fn no_handshake(request: &Request) -> Refusal {
    let requested = request.params.as_ref().and_then(|params| params.get("protocolVersion")?.read::<String>().ok());
    unsupported(EraChoice::Modern, requested.as_deref().unwrap_or_default())
}

/// A modern request where only sessions are served: 400 with no modern error in it, so that a client of both eras falls back
/// to `initialize` (2026-07-28, basic/transports/streamable-http, "Backward Compatibility").
fn legacy_only() -> Refusal {
    let text = format!(
        "only sessions of revision {} and earlier are served here: send initialize first and then its Mcp-Session-Id",
        Revision::LATEST_LEGACY
    );
    Refusal::bad_request(ErrorKind::InvalidRequest, text)
}

/// -32022 with what is served (2026-07-28, basic/versioning, "Protocol Version Negotiation").
pub(crate) fn unsupported(era: EraChoice, requested: &str) -> Refusal {
    let supported: Vec<&str> = served(era).iter().map(|revision| revision.as_str()).collect();
    let requested = excerpt(requested);
    let data = serde_json::json!({ "supported": supported, "requested": requested });
    let error = Error::new(ErrorKind::UnsupportedVersion, format!("unsupported protocol version \"{requested}\""));
    Refusal::of(error.with_data(Json::from_trusted(data.to_string())))
}
