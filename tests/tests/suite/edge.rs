//! The client edge over a real socket, against a scripted broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bridge;
mod checks;
mod connections;
mod double;
mod eras;
mod input;
mod legacy;
mod line;
mod relay;
mod resume;
mod sse;
mod streams;
mod tasks;

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use serde_json::{Value, json};
use spanwire_http::server::{Authenticate, Config, ConnectionLimits, router, serve};
use spanwire_model::{Dispatch, Error, ErrorKind, Principal};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::double::Double;

/// Generous: what is waited for happens at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A served edge.
struct Node {
    address: std::net::SocketAddr,
    /// Where its clients go.
    path: &'static str,
    double: Arc<Double>,
    client: reqwest::Client,
    shutdown: CancellationToken,
    _guard: DropGuard,
}

/// `Bearer NAME-token` is NAME; nothing is anonymous; anything else is refused.
struct Tokens;

impl Authenticate for Tokens {
    fn authenticate(&self, authorization: Option<&str>) -> Result<Principal, Error> {
        match authorization {
            None => Ok(Principal::anonymous()),
            Some(value) => value
                .strip_prefix("Bearer ")
                .and_then(|token| token.strip_suffix("-token"))
                .map(Principal::new)
                .ok_or_else(|| Error::new(ErrorKind::Unauthenticated, "unknown bearer token")),
        }
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn node() -> Node {
    node_with(|_, _| {}).await
}

async fn node_with(change: impl FnOnce(&mut Config, &mut ConnectionLimits)) -> Node {
    start(change, router).await
}

/// A node with routes of its own making.
async fn start(
    change: impl FnOnce(&mut Config, &mut ConnectionLimits),
    routes: impl FnOnce(Config, Arc<dyn Dispatch>, Arc<dyn Authenticate>) -> axum::Router,
) -> Node {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let mut limits = ConnectionLimits { drain_timeout: Duration::from_secs(2), ..ConnectionLimits::default() };
    let mut config = Config { shutdown: shutdown.clone(), ..Config::default() };
    change(&mut config, &mut limits);
    let double = Arc::new(Double::default());
    let app = routes(config, double.clone(), Arc::new(Tokens));
    tokio::spawn(serve(listener, app, limits, shutdown.clone()));
    Node { address, path: "/mcp", double, client: client(), _guard: shutdown.clone().drop_guard(), shutdown }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not happen")
}

/// A modern request with its metadata.
fn modern(method: &str, mut params: Value) -> Value {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn call(tool: &str) -> Value {
    modern("tools/call", json!({"name": tool, "arguments": {}}))
}

fn accept_both(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    request.header("content-type", "application/json").header("accept", "application/json, text/event-stream")
}

impl Node {
    fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// A modern POST with the headers that mirror the body.
    fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        let mut request = accept_both(self.client.post(self.url()))
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", body["method"].as_str().unwrap());
        let name = body["params"].get("name").or_else(|| body["params"].get("uri"));
        if let Some(name) = name.and_then(Value::as_str) {
            request = request.header("mcp-name", name);
        }
        request.body(body.to_string())
    }
}

/// Sends and reads a JSON body.
async fn ask(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = soon(request.send()).await.unwrap();
    let status = response.status().as_u16();
    let text = soon(response.text()).await.unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect(&text) };
    (status, body)
}

/// An open event stream.
struct Events {
    response: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    buffer: String,
    /// The id of the last event that had one.
    last_id: Option<String>,
}

impl Events {
    async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-accel-buffering"), "no");
        Self { response: Box::pin(response.bytes_stream()), buffer: String::new(), last_id: None }
    }

    /// The next block, comment or event, as text; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let block = block.to_owned();
                self.buffer = rest.to_owned();
                return Some(block);
            }
            let chunk = soon(self.response.next()).await?.ok()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next message; comments and events without data are left out.
    async fn message(&mut self) -> Option<Value> {
        loop {
            let block = self.block().await?;
            if block.starts_with(':') {
                continue;
            }
            let (id, event) = match block.strip_prefix("id: ") {
                Some(rest) => rest.split_once('\n').map(|(id, event)| (Some(id), event)).expect(&block),
                None => (None, block.as_str()),
            };
            if let Some(id) = id {
                self.last_id = Some(id.to_owned());
            }
            if event.ends_with("data: ") {
                continue;
            }
            let data = event.strip_prefix("event: message\ndata: ").expect(&block);
            assert!(!data.contains('\n'), "{data}");
            return Some(serde_json::from_str(data).unwrap());
        }
    }
}
