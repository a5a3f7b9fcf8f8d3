//! An HTTP server that answers as a test says, and remembers what it was asked.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method as Verb, StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub verb: Verb,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// The body byte for byte.
    pub raw: String,
}

impl Seen {
    pub(super) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A JSON response with this result.
    pub(super) fn result(&self, result: &Value) -> Response {
        respond(
            200,
            "application/json",
            &json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result}).to_string(),
        )
    }

    /// The same as an event stream, after these notifications.
    pub(super) fn events(&self, before: &[Value], result: &Value) -> Response {
        let last = json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result});
        let text: String = before.iter().chain([&last]).map(|message| format!("data: {message}\n\n")).collect();
        respond(200, "text/event-stream", &format!(": hello\n\nid: 1\ndata:\n\n{text}"))
    }

    /// What a modern server says of itself.
    pub(super) fn discovered(&self) -> Response {
        self.result(
            &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
        )
    }

    /// What a legacy server says of itself, with a session.
    pub(super) fn initialized(&self, session: &str) -> Response {
        let mut response = self.result(&json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted"}}));
        response.headers_mut().insert("mcp-session-id", session.parse().unwrap());
        response
    }
}

pub(super) fn respond(status: u16, kind: &str, body: &str) -> Response {
    stream(status, kind, Body::from(body.to_owned()))
}

pub(super) fn stream(status: u16, kind: &str, body: Body) -> Response {
    Response::builder().status(status).header("content-type", kind).body(body).unwrap()
}

pub(super) struct Scripted {
    pub url: String,
    log: watch::Sender<Vec<Seen>>,
}

impl Scripted {
    /// Answers requests by the script; there is no stream to GET, and nothing to say to notifications.
    pub(super) async fn start(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::start_raw(move |seen| match (seen.verb.as_str(), seen.body.get("id")) {
            ("GET", _) => respond(405, "text/plain", ""),
            ("DELETE", _) | (_, None) => respond(202, "text/plain", ""),
            _ => script(seen),
        })
        .await
    }

    /// Answers everything by the script.
    pub(super) async fn start_raw(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let log = watch::Sender::<Vec<Seen>>::default();
        let (script, seen_by) = (Arc::new(script), log.clone());
        let handler = move |verb: Verb, uri: Uri, headers: HeaderMap, body: Bytes| {
            let raw = String::from_utf8_lossy(&body).into_owned();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let seen = Seen { verb, path, headers, body, raw };
            seen_by.send_modify(|log| log.push(seen.clone()));
            std::future::ready(script(&seen))
        };
        let app = axum::Router::new().fallback(handler);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, log }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.log.borrow().clone()
    }

    /// Waits for a request that satisfies the test.
    pub(super) async fn saw(&self, test: impl Fn(&Seen) -> bool) -> Seen {
        let mut log = self.log.subscribe();
        let log = super::within(log.wait_for(|log| log.iter().any(&test))).await.unwrap();
        log.iter().find(|seen| test(seen)).unwrap().clone()
    }
}

/// A response with a status and no body.
pub(super) fn status(code: StatusCode) -> Response {
    respond(code.as_u16(), "text/plain", "")
}

/// An event stream that a test writes to, until it drops the sender.
pub(super) fn live(receiver: tokio::sync::mpsc::UnboundedReceiver<String>) -> Response {
    let chunks = futures::stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(text), receiver))
    });
    stream(200, "text/event-stream", Body::from_stream(chunks))
}
