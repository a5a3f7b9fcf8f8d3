//! Clients of older revisions: a session from `initialize` to DELETE (2025-11-25, basic/transports, "Session
//! Management"). [`spanwire_era::session`] translates; this room keeps the sessions and their streams.
//!
//! `notifications/cancelled` cancels a request. A response stream whose connection breaks goes on for a while, since its client may
//! come back for the rest; only when nobody does, or nobody can, is the request cancelled.

mod asking;
mod calls;
mod feed;
mod replay;
mod resume;
mod session;
mod table;

use std::sync::Arc;

use axum::response::{IntoResponse, Response as HttpResponse};
use http::{HeaderValue, StatusCode};
use spanwire_era::session::{self as era, Heard};
use spanwire_mcp::{Message, Method, Notification, Revision, WireError, header};
use spanwire_model::{Error, ErrorKind};

use self::calls::{at_once, ready, response, serve};
pub(crate) use self::{
    session::Session,
    table::{Found, Sessions},
};
use super::{
    Caller, Edge,
    answer::{self, Outgoing},
    gate,
    opening::{unknown_session, version},
    refusal::{Refusal, json},
};

/// Opens a session. The answer comes from the broker's `server/discover`.
pub(crate) async fn initialize(edge: &Edge, caller: &Caller, message: Message) -> Result<HttpResponse, Refusal> {
    let Message::Request(request) = message else { return Err(unknown_session()) };
    let opened = era::Session::open(request.params.as_ref()).map_err(Refusal::of)?;
    let place = edge.sessions.reserve().map_err(Refusal::of)?;
    let id = edge.sessions.new_id();
    let origin = calls::Origin::new(edge, caller, request.params.as_ref());
    let discovered =
        origin.dispatch(Method::Discover, opened.canonical_params(None), opened.revision(), &id, &request.id);
    let outcome = discovered.outcome().await.map(|result| opened.initialize_result(&result));
    let failed = outcome.is_err();
    let mut response = json(StatusCode::OK, response(request.id, outcome));
    if !failed {
        let value = HeaderValue::from_str(&id).map_err(|_| internal("session id is no header value"))?;
        response.headers_mut().insert(header::SESSION_ID, value);
        edge.sessions.open(id, caller, opened, place);
    }
    Ok(response)
}

fn internal(text: &'static str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Error::new(ErrorKind::Internal, text))
}

/// Serves one message of a session.
pub(crate) async fn post(
    edge: &Edge,
    caller: &Caller,
    session: Arc<Session>,
    message: Message,
) -> Result<HttpResponse, Refusal> {
    check_version(&session, caller)?;
    session.touch();
    match message {
        Message::Request(request) => {
            let id = request.id.clone();
            let outgoing = serve(edge, caller, &session, request).await.map_err(Refusal::of)?;
            let begun = answer::begin(outgoing, resume::silence(&edge.config, &session)).await;
            Ok(resume::answer(&edge.config, &session, begun, &[id]))
        }
        Message::Notification(notification) => {
            hear(&session, &notification);
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Message::Response(response) => {
            session.answer(response);
            Ok(StatusCode::ACCEPTED.into_response())
        }
    }
}

/// Serves the messages of one body (2025-03-26, basic/transports, "Sending Messages").
pub(crate) async fn batch(
    edge: &Edge,
    caller: &Caller,
    found: Found,
    messages: Vec<Result<Message, WireError>>,
) -> Result<HttpResponse, Refusal> {
    let Found::Session(session) = found else { return Err(unknown_session()) };
    check_version(&session, caller)?;
    session.touch();
    let mut outgoing: Vec<Outgoing> = Vec::new();
    let mut ids = Vec::new();
    for message in messages {
        match message {
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                match serve(edge, caller, &session, request).await {
                    Ok(served) => {
                        ids.push(id);
                        outgoing.push(served);
                    }
                    // Another request may have this id, and runs on.
                    Err(error) => outgoing.push(at_once(id, Err(error))),
                }
            }
            Ok(Message::Notification(notification)) => hear(&session, &notification),
            Ok(Message::Response(response)) => session.answer(response),
            Err(error) => outgoing.push(ready(error.to_response().to_bytes())),
        }
    }
    if outgoing.is_empty() {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let begun = answer::begin_batch(outgoing, resume::silence(&edge.config, &session)).await;
    Ok(resume::answer(&edge.config, &session, begun, &ids))
}

/// GET: the session's stream for messages that belong to no request, or the rest of any stream of the session after the event
/// that `Last-Event-ID` names. A second reader of a stream takes the first one's place, since the first may be a connection
/// that is dead without anyone having noticed.
pub(crate) fn get(edge: &Edge, caller: &Caller) -> Result<HttpResponse, Refusal> {
    let session = named(edge, caller, &http::Method::GET)?;
    let resumes = session.with_state(era::Session::resumes);
    let after = if resumes { resume::last_event(&caller.headers)? } else { None };
    session.touch();
    if let Some(after) = after.filter(|after| !after.is_own()) {
        let reader = session.replay().resume(after).ok_or_else(|| resume::unknown_event(&after.to_string()))?;
        return Ok(answer::streaming(resume::events(reader, None, true, edge.config.keep_alive)));
    }
    let stream = session.stream(&edge.streams, after, edge.config.keep_alive).map_err(Refusal::of)?;
    session.feed();
    Ok(answer::streaming(stream))
}

/// DELETE: ends the session, its stream and its running requests.
pub(crate) fn delete(edge: &Edge, caller: &Caller) -> Result<HttpResponse, Refusal> {
    named(edge, caller, &http::Method::DELETE)?.close();
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn named(edge: &Edge, caller: &Caller, method: &http::Method) -> Result<Arc<Session>, Refusal> {
    match edge.sessions.find(caller)? {
        Found::Session(session) => {
            check_version(&session, caller)?;
            Ok(session)
        }
        Found::Unknown | Found::Elsewhere(_) => Err(unknown_session()),
        Found::Absent => Err(Refusal::method_not_allowed(method)),
    }
}

/// The version header came with 2025-06-18, so an older session does not look at it; without it the session knows its
/// revision.
fn check_version(session: &Session, caller: &Caller) -> Result<(), Refusal> {
    let revision = session.revision();
    match version(&caller.headers)? {
        Some(sent) if sent != revision.as_str() && revision >= Revision::V2025_06_18 => Err(Refusal::bad_request(
            ErrorKind::InvalidRequest,
            format!("MCP-Protocol-Version \"{}\" is not the session's {revision}", gate::excerpt(sent)),
        )),
        Some(_) | None => Ok(()),
    }
}

fn hear(session: &Arc<Session>, notification: &Notification) {
    match session.hear(notification) {
        Heard::Initialized => session.feed(),
        Heard::Cancelled(id) => session.cancel(&id),
        Heard::Nothing => {}
    }
}
