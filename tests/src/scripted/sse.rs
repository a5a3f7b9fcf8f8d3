//! A scripted server over the HTTP with server-sent events of 2024-11-05: one stream for everything that it says, and an address
//! for what it is told, which the first event names.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    http::{empty, head},
    server::{Link, Server},
    state::Out,
    tape::Way,
};

struct Shared {
    server: Arc<Server>,
    streams: Mutex<HashMap<u64, Out>>,
}

/// Serves `GET /sse` and `POST /messages?stream=N` until the future is dropped.
pub async fn serve_sse(server: Arc<Server>, listener: TcpListener) -> std::io::Result<()> {
    let shared = Arc::new(Shared { server, streams: Mutex::default() });
    let router = Router::new().route("/sse", get(open)).route("/messages", post(take)).with_state(shared);
    axum::serve(listener, router).await
}

/// Ends the session with its stream.
struct Close(Arc<Shared>, u64);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.server.state().end_session(self.1);
        self.0.server.recorder.note(Way::Event, self.1, &json!({}), &json!({ "ended": "stream" }));
    }
}

async fn open(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let (out, mut messages) = mpsc::unbounded_channel::<Value>();
    let number = shared.server.recorder.connection();
    shared.streams.lock().unwrap_or_else(PoisonError::into_inner).insert(number, out);
    shared.server.recorder.note(Way::Event, number, &head(&headers), &json!({ "opened": "stream" }));
    let close = Close(shared, number);
    let stream = async_stream::stream! {
        let _close = close;
        yield Ok::<_, std::convert::Infallible>(Bytes::from(format!("event: endpoint\ndata: /messages?stream={number}\n\n")));
        while let Some(message) = messages.recv().await {
            yield Ok(Bytes::from(format!("event: message\ndata: {message}\n\n")));
        }
    };
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let number = query.get("stream").and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
    let out = shared.streams.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
    let (Some(out), Ok(message)) = (out, serde_json::from_slice::<Value>(&body)) else {
        return empty(StatusCode::NOT_FOUND);
    };
    let link = Link { number, own: out.clone(), general: out.clone(), head: head(&headers) };
    let server = shared.server.clone();
    let mut call = Box::pin(async move {
        if let Some(answer) = server.take(link, message).await {
            let _ = out.send(answer);
        }
    });
    if futures::poll!(&mut call).is_pending() {
        tokio::spawn(call);
    }
    empty(StatusCode::ACCEPTED)
}
