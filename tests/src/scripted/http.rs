//! A scripted server over Streamable HTTP, with sessions for the revisions that have them.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
    routing::any,
};
use futures::Stream;
use serde_json::{Value, json};
use spanwire_mcp::{codes, header as mcp};
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    server::{Link, Server},
    state::Out,
    tape::Way,
};

type Messages = Pin<Box<dyn Stream<Item = Value> + Send>>;

/// A session with the messages that wait for its GET stream.
#[derive(Clone)]
struct Session {
    number: u64,
    general: Out,
    waiting: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>>,
}

struct Shared {
    server: Arc<Server>,
    sessions: Mutex<HashMap<String, Session>>,
}

/// Serves `/mcp` until the future is dropped.
pub async fn serve_http(server: Arc<Server>, listener: TcpListener) -> std::io::Result<()> {
    let shared = Arc::new(Shared { server, sessions: Mutex::default() });
    let router = Router::new().route("/mcp", any(answer)).with_state(shared);
    axum::serve(listener, router).await
}

/// The headers that belong to the protocol, by lower-case name.
pub(super) fn head(headers: &HeaderMap) -> Value {
    let own = headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.starts_with("mcp-")
            || matches!(name, "accept" | "content-type" | "traceparent" | "authorization" | "last-event-id")
    });
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Value::Object(own.map(|(name, value)| (name.to_string(), text(value).into())).collect())
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let id = headers.get(mcp::SESSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let session = id.as_ref().and_then(|id| shared.sessions().get(id).cloned());
    if id.is_some() && session.is_none() {
        return empty(StatusCode::NOT_FOUND);
    }
    match (method, session) {
        (Method::POST, session) => post(&shared, session, &headers, &body).await,
        (Method::GET, Some(session)) => {
            let event = json!({ "opened": "stream" });
            shared.server.recorder.note(Way::Event, session.number, &head(&headers), &event);
            events(Box::pin(async_stream::stream! {
                let mut waiting = session.waiting.lock().await;
                while let Some(message) = waiting.recv().await {
                    yield message;
                }
            }))
        }
        (Method::DELETE, Some(session)) => {
            id.and_then(|id| shared.sessions().remove(&id));
            shared.server.state().end_session(session.number);
            shared.server.recorder.note(Way::Event, session.number, &head(&headers), &json!({ "ended": "session" }));
            empty(StatusCode::NO_CONTENT)
        }
        _ => empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

async fn post(shared: &Shared, session: Option<Session>, headers: &HeaderMap, body: &[u8]) -> Response {
    let server = shared.server.clone();
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return empty(StatusCode::BAD_REQUEST) };
    let opens = message["method"] == "initialize";
    if server.is_legacy() && session.is_none() && !opens {
        // Also the probe of a modern client: a server of its time knows no such request without a session.
        server.recorder.note(Way::In, 0, &head(headers), &message);
        return empty(StatusCode::BAD_REQUEST);
    }
    let session = if opens { Some(shared.new_session()) } else { session };
    let (own, mut of_call) = mpsc::unbounded_channel();
    let (number, general) =
        session.as_ref().map_or((0, own.clone()), |session| (session.number, session.general.clone()));
    let link = Link { number, own, general, head: head(headers) };
    let mut call: Pin<Box<dyn Future<Output = Option<Value>> + Send>> =
        Box::pin(async move { server.take(link, message).await });
    let first = tokio::select! {
        biased;
        Some(message) = of_call.recv() => message,
        response = &mut call => {
            // What was said before the response comes before it.
            let Ok(first) = of_call.try_recv() else { return whole(response, session, opens) };
            call = Box::pin(std::future::ready(response));
            first
        }
    };
    events(Box::pin(async_stream::stream! {
        yield first;
        loop {
            tokio::select! {
                biased;
                Some(message) = of_call.recv() => yield message,
                response = &mut call => {
                    while let Ok(message) = of_call.try_recv() {
                        yield message;
                    }
                    if let Some(response) = response {
                        yield response;
                    }
                    break;
                }
            }
        }
    }))
}

/// A response that is one message, or none.
fn whole(message: Option<Value>, session: Option<Session>, opens: bool) -> Response {
    let Some(message) = message else { return empty(StatusCode::ACCEPTED) };
    let status = match message["error"]["code"].as_i64() {
        // In a session a 404 would say that the session is gone.
        Some(codes::METHOD_NOT_FOUND) if session.is_none() => StatusCode::NOT_FOUND,
        Some(code) if codes::is_modern(code) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let mut response = Response::new(Body::from(message.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(Ok(id)) =
        session.filter(|_| opens).map(|session| HeaderValue::from_str(&format!("session-{}", session.number)))
    {
        response.headers_mut().insert(mcp::SESSION_ID, id);
    }
    response
}

pub(super) fn events(messages: Messages) -> Response {
    let stream = async_stream::stream! {
        for await message in messages {
            yield Ok::<_, Infallible>(Bytes::from(format!("event: message\ndata: {message}\n\n")));
        }
    };
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

impl Shared {
    fn sessions(&self) -> std::sync::MutexGuard<'_, HashMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_session(&self) -> Session {
        let (general, waiting) = mpsc::unbounded_channel();
        let number = self.server.recorder.connection();
        let session = Session { number, general, waiting: Arc::new(tokio::sync::Mutex::new(waiting)) };
        self.sessions().insert(format!("session-{number}"), session.clone());
        session
    }
}
