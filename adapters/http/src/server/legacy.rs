//! Clients of older revisions: a session from `initialize` to DELETE (2025-11-25, basic/transports, "Session
//! Management"). [`spanwire_era::session`] translates; this room keeps the sessions and their streams.
//!
//! A response stream that its client closes cancels the call: streams are not resumable here, so nobody could ever read
//! the answer. `notifications/cancelled` does the same while the stream stays open.

mod feed;
mod outbox;
mod session;
mod table;

use std::sync::Arc;

use axum::response::{IntoResponse, Response as HttpResponse};
use http::{HeaderValue, StatusCode};
use spanwire_era::session::{self as era, Heard, Step};
use spanwire_mcp::{
    Json, Message, Method, Notification, Params, Request, RequestId, Response, Revision, WireError, header,
};
use spanwire_model::{Call, ClientFacts, EdgeTransport, Error, ErrorKind, Event, Outcome};
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use self::{
    session::Session,
    table::{Found, Sessions},
};
use super::{
    Caller, Edge,
    answer::{self, Out, Outgoing},
    gate, modern,
    opening::{unknown_session, version},
    refusal::{Refusal, json, note},
};

/// Opens a session. The answer comes from the broker's `server/discover`.
pub(crate) async fn initialize(edge: &Edge, caller: &Caller, message: Message) -> Result<HttpResponse, Refusal> {
    let Message::Request(request) = message else { return Err(unknown_session()) };
    let opened = era::Session::open(request.params.as_ref()).map_err(Refusal::of)?;
    let place = edge.sessions.reserve().map_err(Refusal::of)?;
    let id = edge.sessions.new_id();
    let facts = facts(caller, &opened, &id, &request.id);
    let discover = call(edge, caller, Method::Discover, opened.canonical_params(None), request.params.as_ref(), facts);
    let outcome = edge.dispatch.dispatch(discover).outcome().await.map(|result| opened.initialize_result(&result));
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
            let outgoing = serve(edge, caller, &session, request).await.map_err(Refusal::of)?;
            Ok(answer::one(outgoing, edge.config.keep_alive).await)
        }
        Message::Notification(notification) => {
            hear(&session, &notification);
            Ok(StatusCode::ACCEPTED.into_response())
        }
        // The broker asks a client nothing yet: an answer has no question to go to.
        Message::Response(_) => Ok(StatusCode::ACCEPTED.into_response()),
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
    for message in messages {
        match message {
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                let served = serve(edge, caller, &session, request).await;
                outgoing.push(served.unwrap_or_else(|error| at_once(id, Err(error))));
            }
            Ok(Message::Notification(notification)) => hear(&session, &notification),
            Ok(Message::Response(_)) => {}
            Err(error) => outgoing.push(ready(error.to_response().to_bytes())),
        }
    }
    if outgoing.is_empty() {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    Ok(answer::batch(outgoing, edge.config.keep_alive).await)
}

/// GET: the session's stream for messages that belong to no request. A second one takes the first one's place, since
/// the first may be a connection that is dead without anyone having noticed.
pub(crate) fn get(edge: &Edge, caller: &Caller) -> Result<HttpResponse, Refusal> {
    let session = named(edge, caller, &http::Method::GET)?;
    let stream = session.stream(&edge.streams).map_err(Refusal::of)?;
    session.touch();
    session.feed();
    Ok(answer::events(Vec::new(), Box::pin(stream), edge.config.keep_alive))
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

/// The messages that answer one request.
async fn serve(edge: &Edge, caller: &Caller, session: &Arc<Session>, request: Request) -> Result<Outgoing, Error> {
    let running = session.start(&request.id)?;
    let (method, params) = match session.step(&request) {
        Step::Answer(outcome) => return Ok(at_once(request.id, outcome)),
        Step::Subscribe(uri) => return Ok(at_once(request.id, session.subscribe(uri).await)),
        Step::Unsubscribe => return Ok(at_once(request.id, session.unsubscribe().await)),
        Step::Call { method, params } => (method, params),
    };
    let facts = session.with_state(|state| facts(caller, state, session.id(), &request.id));
    let call = call(edge, caller, method.clone(), params, request.params.as_ref(), facts);
    let mut reply = edge.dispatch.dispatch(call);
    Ok(Box::pin(async_stream::stream! {
        let running = running;
        loop {
            let event = tokio::select! {
                biased;
                () = running.cancelled() => break,
                event = futures::StreamExt::next(&mut reply) => event,
            };
            match event {
                Some(Event::Progress(notification) | Event::Notification(notification)) => {
                    if let Some(notification) = era::notification(notification) {
                        yield Out::Notification(notification.to_bytes());
                    }
                }
                Some(Event::Done(outcome)) => {
                    let outcome = outcome.and_then(|result| era::result(&method, result));
                    // The client may use the id again once it has read the response.
                    drop(running);
                    yield Out::Response(StatusCode::OK, response(request.id, outcome));
                    break;
                }
                None => break,
            }
        }
    }))
}

/// A canonical call of this client; its trace context stands in the params as they came.
fn call(
    edge: &Edge,
    caller: &Caller,
    method: Method,
    params: Json,
    original: Option<&Json>,
    client: ClientFacts,
) -> Call {
    let meta = Params::read(original).unwrap_or_default().meta;
    Call {
        id: Uuid::now_v7(),
        principal: caller.principal.clone(),
        view: caller.view.clone(),
        deadline: Instant::now() + modern::budget(edge, method == Method::Listen),
        method,
        params,
        parent: caller.parent(&meta),
        client,
    }
}

fn facts(caller: &Caller, state: &era::Session, session_id: &Arc<str>, request_id: &RequestId) -> ClientFacts {
    ClientFacts {
        address: caller.address,
        request_id: Some(request_id.to_string()),
        session_id: Some(session_id.clone()),
        ..ClientFacts::of(EdgeTransport::Http, state.revision())
    }
}

/// The response. Errors of a session's requests are JSON-RPC errors under 200: a 404, for one, would end the session.
fn response(id: RequestId, outcome: Outcome) -> bytes::Bytes {
    let outcome = outcome.map_err(|error| {
        note(&error);
        error.to_object()
    });
    Response { id: Some(id), outcome }.to_bytes()
}

fn at_once(id: RequestId, outcome: Outcome) -> Outgoing {
    ready(response(id, outcome))
}

fn ready(message: bytes::Bytes) -> Outgoing {
    Box::pin(futures::stream::once(std::future::ready(Out::Response(StatusCode::OK, message))))
}
