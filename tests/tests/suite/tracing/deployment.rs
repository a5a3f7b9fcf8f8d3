//! Two nodes that send their spans to one collector; node a has a server over stdio and one over HTTP, and both say what
//! trace context reached them.

use axum::{
    http::{HeaderMap, HeaderName, header::CONTENT_TYPE},
    routing::post,
};
use serde_json::{Value, json};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::{Caller, Node},
    otlp::Collector,
    peers::{Peers, http_config},
};
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

/// Over stdio: `echo` answers with the `_meta` that came, `refuse` with `isError`, `hang` with progress and then never.
const SCRIPT: &str = r#"
    if "id" not in message: return
    if method == "initialize": return hello(tools={})
    if method == "tools/list": return reply({"tools": [tool("echo"), tool("refuse"), tool("hang")]})
    if method != "tools/call": return fail(-32601, "no such method")
    meta = params.get("_meta", {})
    if params["name"] == "echo": return reply({"content": [{"type": "text", "text": json.dumps(meta)}]})
    if params["name"] == "refuse": return reply({"content": [], "isError": True})
    if "progressToken" in meta:
        send({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": meta["progressToken"], "progress": 1}})
"#;

/// The server over stdio.
pub(super) fn script(peers: &Peers) -> String {
    peers.script_server(SCRIPT).config("script")
}

pub(super) struct Deployment {
    pub(super) a: Node,
    pub(super) b: Node,
    pub(super) collector: Collector,
    _headers: HeaderServer,
    _nats: NatsServer,
}

impl Deployment {
    /// A call to `script__hang` may take `hang_ms`.
    pub(super) async fn start(hang_ms: u64) -> Self {
        let peers = Peers::find().unwrap();
        let (nats, collector) = (NatsServer::start().await.unwrap(), Collector::start().await.unwrap());
        let headers = HeaderServer::start().await;
        let common = format!("[nats]\nurl = \"{}\"\n{}", nats.url(), collector.grpc_config());
        let servers =
            script(&peers) + &format!("call_timeout_ms = {hang_ms}\n") + &http_config("headers", &headers.url);
        let a_config = common.clone() + &servers;
        let (a, b) = tokio::join!(Node::start_as("a", &a_config), Node::start_as("b", &common));
        let (a, b) = (a.unwrap(), b.unwrap());
        for node in [&a, &b] {
            node.wait_servers(&["script", "headers"], ServerState::Ready).await.unwrap();
            node.wait_settled().await.unwrap();
        }
        Self { a, b, collector, _headers: headers, _nats: nats }
    }
}

/// A position in a trace of its own, as a client would send it.
pub(super) struct Parent {
    pub(super) trace_id: String,
    pub(super) span_id: &'static str,
    pub(super) sampled: bool,
}

impl Parent {
    pub(super) fn new() -> Self {
        Self { trace_id: Uuid::new_v4().simple().to_string(), span_id: "00f067aa0ba902b7", sampled: true }
    }

    pub(super) fn unsampled() -> Self {
        Self { sampled: false, ..Self::new() }
    }

    pub(super) fn traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, if self.sampled { "01" } else { "00" })
    }

    /// A client that sends it in `_meta` (SEP-414).
    pub(super) fn in_meta(&self, node: &Node) -> Caller {
        Caller::new(node.mcp_url("")).with_meta("traceparent", json!(self.traceparent()))
    }

    /// A client that sends it as a header (W3C Trace Context).
    pub(super) fn in_header(&self, node: &Node) -> Caller {
        Caller::new(node.mcp_url("")).with_header("traceparent", &self.traceparent())
    }
}

/// The `_meta` that reached `script__echo`.
pub(super) fn echoed_meta(answer: &Value) -> Value {
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}"));
    serde_json::from_str(text).unwrap()
}

/// A modern server whose tool `show` answers with the `traceparent` of the header and of `_meta`.
struct HeaderServer {
    url: String,
    task: JoinHandle<()>,
}

impl HeaderServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/mcp", post(answer));
        let task = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Self { url, task }
    }
}

impl Drop for HeaderServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(headers: HeaderMap, body: axum::body::Bytes) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "application/json")], respond(&headers, &body).to_string())
}

fn respond(headers: &HeaderMap, body: &[u8]) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let header = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let mut result = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} }, "ttlMs": 0, "cacheScope": "public",
        }),
        "tools/list" => json!({
            "tools": [{ "name": "show", "inputSchema": { "type": "object" } }], "ttlMs": 0, "cacheScope": "public",
        }),
        "tools/call" => {
            let shown = json!({ "header": header, "meta": request["params"]["_meta"]["traceparent"] });
            json!({ "content": [{ "type": "text", "text": shown.to_string() }] })
        }
        other => {
            let error = json!({ "code": -32601, "message": format!("no method {other}") });
            return json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
        }
    };
    result["resultType"] = json!("complete");
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
}
