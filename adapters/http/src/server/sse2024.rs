//! HTTP with SSE, the transport of 2024-11-05 (2024-11-05, basic/transports, "HTTP with SSE"): one event stream for everything that the
//! client is told, and beside it an endpoint to post to, which the stream's first event names.
//!
//! Behind it stands a session like any other: a message posted here is served as if it had been posted to `/mcp` with the session's
//! header, and what would be its answer goes onto the stream. The stream is the connection: closing it ends the session and
//! cancels its calls. The endpoint's id names its node, so that it can be posted to through any.
//!
//! Why it is served at `/sse`, and at `/mcp` too: `broker/decisions/0015-the-transport-of-2024-is-served.md`.

mod messages;
mod pipes;

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response as HttpResponse},
};
use bytes::Bytes;
use http::StatusCode;
use spanwire_mcp::{Limits, Message, Meta, Method, Parsed, RequestId, header};
use spanwire_model::{EraChoice, ErrorKind, Verb};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

pub(super) use self::pipes::Pipes;
use self::{
    messages::pass_on,
    pipes::{Held, Opening, Pipe},
};
use super::{
    Caller, Edge,
    answer::{KEEP_ALIVE, frame, streaming},
    gate, legacy,
    opening::unknown_session,
    post,
    refusal::Refusal,
    relay::Elsewhere,
};

/// A client must have initialised its session after this.
const INITIALIZE_WITHIN: Duration = Duration::from_secs(60);
/// Messages that wait for a client to read; what would send more waits.
const MAX_WAITING: usize = 16;
/// The parameter of the endpoint that holds the id, as the official SDKs know it.
const ID: &str = "sessionId";

/// Opens the stream. Its first event is the endpoint, as a path: older clients put it behind the address that they know.
pub(crate) fn open(edge: &Arc<Edge>, caller: Caller) -> Result<HttpResponse, Refusal> {
    let (tell, mut told) = mpsc::channel(MAX_WAITING);
    let held = Held::open(edge, caller, tell).map_err(Refusal::of)?;
    let pipe = held.pipe().clone();
    let view = pipe.view().map(|view| format!("/{view}")).unwrap_or_default();
    let endpoint = format!("event: endpoint\ndata: /sse{view}?{ID}={}\n\n", pipe.id());
    let keep_alive = edge.config.keep_alive;
    Ok(streaming(async_stream::stream! {
        let _held = held;
        yield Bytes::from(endpoint);
        let mut opening = pin!(sleep(INITIALIZE_WITHIN));
        let mut is_opening = true;
        loop {
            let message = tokio::select! {
                biased;
                message = timeout(keep_alive, told.recv()) => message,
                () = pipe.closed().cancelled() => break,
                () = &mut opening, if is_opening => {
                    is_opening = false;
                    if pipe.session().is_some() { continue } else { break }
                }
            };
            match message {
                Ok(Some(message)) => yield frame(&message),
                Ok(None) => break,
                Err(_) => yield KEEP_ALIVE,
            }
        }
    }))
}

/// The id in the query of a request.
pub(crate) fn id_of(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix(ID)?.strip_prefix('='))
}

/// Takes messages for the session behind an id, which may be of another node.
pub(crate) async fn post(edge: Arc<Edge>, caller: Caller, id: &str, body: Body) -> Result<HttpResponse, Refusal> {
    let body = gate::body(&edge.config, &caller.headers, body).await?;
    let limits = Limits { max_bytes: edge.config.max_body_bytes, ..Limits::default() };
    let parsed = Message::parse(&body, &limits, true).map_err(|error| {
        let (id, refusal) = (error.id.clone(), Refusal::of(error.into()));
        id.into_iter().fold(refusal, Refusal::with_id)
    })?;
    match edge.pipes.find(id, &caller) {
        Some(pipe) => take(edge, pipe, caller, &parsed, body).await,
        None => match Elsewhere::of(edge.cluster.as_ref().map(|cluster| &cluster.node), &caller, id) {
            Some(session) => {
                let parent = match &parsed {
                    Parsed::Single(message) => post::parent_of(&caller, message),
                    Parsed::Batch(_) => caller.parent(&Meta::default()),
                };
                session.ask(&edge, &caller, Verb::Message, body, false, parent).await
            }
            None => Err(unknown_session()),
        },
    }
}

/// Begins to serve what was posted. A request is answered with 202, and its outcome goes onto the stream; the order in which a client
/// posts is the order in which its messages are begun.
async fn take(
    edge: Arc<Edge>,
    pipe: Arc<Pipe>,
    mut caller: Caller,
    parsed: &Parsed,
    body: Bytes,
) -> Result<HttpResponse, Refusal> {
    caller.era = EraChoice::Legacy;
    let opening = match parsed {
        Parsed::Single(Message::Request(request)) if request.method == Method::Initialize => {
            let opening = pipe.begin_opening().map_err(|error| Refusal::of(error).with_id(request.id.clone()))?;
            Some((opening, request.id.clone()))
        }
        Parsed::Single(_) | Parsed::Batch(_) => {
            caller.headers.insert(header::SESSION_ID, pipe.session().ok_or_else(not_open)?);
            None
        }
    };
    if let Parsed::Single(Message::Notification(_) | Message::Response(_)) = parsed {
        return post::post(edge, caller, Body::from(body)).await;
    }
    let place = pipe.place().map_err(Refusal::of)?;
    let closed = pipe.closed().clone();
    let mut work = Box::pin(async move {
        let response = post::post(edge.clone(), caller, Body::from(body)).await;
        let response = response.unwrap_or_else(IntoResponse::into_response);
        match opening {
            Some((opening, id)) => opened(&edge, &pipe, opening, id, response).await,
            None => pass_on(response, pipe.tell()).await,
        }
        drop(place);
    });
    if futures::poll!(&mut work).is_pending() {
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = closed.cancelled() => {}
                () = work => {}
            }
        });
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

fn not_open() -> Refusal {
    Refusal::bad_request(ErrorKind::InvalidRequest, "the session is not open: send initialize first")
}

/// The answer to `initialize`. When it opened a session, what the session says unasked follows on the stream.
async fn opened(edge: &Arc<Edge>, pipe: &Arc<Pipe>, opening: Opening, id: RequestId, response: HttpResponse) {
    let Some(session) = response.headers().get(header::SESSION_ID).cloned() else {
        return pass_on(response, pipe.tell()).await;
    };
    let caller = pipe.caller(&session);
    pipe.give_slot_back();
    let unasked = match legacy::get(edge, &caller) {
        Ok(unasked) if opening.opened(session) => unasked,
        // The client went away meanwhile.
        Ok(_) => return end(edge, &caller),
        Err(refusal) => {
            end(edge, &caller);
            return pass_on(refusal.with_id(id).into_response(), pipe.tell()).await;
        }
    };
    pass_on(response, pipe.tell()).await;
    let pipe = pipe.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = pipe.closed().cancelled() => {}
            () = pass_on(unasked, pipe.tell()) => {}
        }
        // The session has ended, and so has what stands for it.
        pipe.close();
    });
}

/// Ends a session.
fn end(edge: &Edge, caller: &Caller) {
    if legacy::delete(edge, caller).is_err() {
        tracing::debug!("a session had ended before its stream");
    }
}
