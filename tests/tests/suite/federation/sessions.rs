//! Sessions of legacy clients on two real nodes over a real NATS server: opened at one, used at the other.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{body::Body, extract::State, http::request::Parts, response::Response};
use bytes::BytesMut;
use serde_json::{Value, json};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, http_client},
    peers::{Peers, Sdk, Via, call},
};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};

/// Longest that anything may take to arrive.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
/// Above the largest payload of the NATS server, which is 1 MiB.
const LARGE: usize = 3 << 20;
/// Below the largest event of the Python SDK, which is 1 MiB too.
const LARGE_EVENT: usize = 1_000_000;

/// `grow` adds a tool and says so; `large` answers with as many bytes; `steps` tells its progress.
const SCRIPT: &str = r#"
    global grown
    if "id" not in message: return
    if method == "initialize":
        grown = []
        return hello(tools={"listChanged": True})
    if method == "tools/list": return reply({"tools": [tool(name) for name in ["grow", "large", "steps"] + grown]})
    if method != "tools/call": return fail(-32601, "no such method")
    text, name, arguments = "", params["name"], params.get("arguments", {})
    if name == "large": text = "x" * arguments["bytes"]
    if name == "grow":
        grown.append(arguments["name"])
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    if name == "steps":
        for step in (1, 2, 3):
            send({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": params["_meta"]["progressToken"], "progress": step}})
            time.sleep(0.05)
    return reply({"content": [{"type": "text", "text": text}]})
"#;

/// Node a, which has no server, and node b, which has one.
struct Cluster {
    a: Node,
    b: Node,
    peers: Peers,
    _nats: NatsServer,
}

impl Cluster {
    async fn start() -> Self {
        let (peers, nats) = (Peers::find().unwrap(), NatsServer::start().await.unwrap());
        let bus = format!("[nats]\nurl = \"{}\"\n", nats.url());
        let with_server = bus.clone() + &peers.script_server(SCRIPT).config("script");
        let (a, b) = tokio::join!(Node::start_as("a", &bus), Node::start_as("b", &with_server));
        let (a, b) = (a.unwrap(), b.unwrap());
        for node in [&a, &b] {
            node.wait_servers(&["script"], ServerState::Ready).await.unwrap();
        }
        Self { a, b, peers, _nats: nats }
    }
}

/// A client without an SDK, which sends each request where it is told to.
struct Client {
    http: reqwest::Client,
    session: String,
}

impl Client {
    async fn open(node: &Node) -> Self {
        let mut client = Self { http: http_client(), session: String::new() };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "suite", "version": "1"},
        });
        let response = client.post(node, &message(Some(0), "initialize", params)).await;
        assert_eq!(response.status(), 200);
        client.session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        client
    }

    fn request(&self, method: reqwest::Method, node: &Node) -> reqwest::RequestBuilder {
        let request =
            self.http.request(method, node.mcp_url("")).header("accept", "application/json, text/event-stream");
        if self.session.is_empty() { request } else { request.header("mcp-session-id", &self.session) }
    }

    async fn post(&self, node: &Node, body: &Value) -> reqwest::Response {
        let request = self.request(reqwest::Method::POST, node).header("content-type", "application/json");
        timeout(PATIENCE, request.body(body.to_string()).send()).await.unwrap().unwrap()
    }

    async fn ask(&self, node: &Node, method: &str, params: Value) -> (u16, Value) {
        let response = self.post(node, &message(Some(1), method, params)).await;
        let status = response.status().as_u16();
        let text = timeout(PATIENCE, response.text()).await.unwrap().unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

fn message(id: Option<i64>, method: &str, params: Value) -> Value {
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if let Some(id) = id {
        message["id"] = json!(id);
    }
    message
}

/// The data of the first event of a stream.
async fn first_event(response: &mut reqwest::Response) -> Value {
    let mut seen = BytesMut::new();
    loop {
        let text = String::from_utf8_lossy(&seen);
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        // The first one of all may be empty: it only tells its id.
        let data =
            whole.split("\n\n").filter_map(|event| event.split_once("data: ")).find(|(_, data)| !data.is_empty());
        if let Some((_, data)) = data {
            return serde_json::from_str(data).unwrap();
        }
        let piece = timeout(PATIENCE, response.chunk()).await.expect("no event in time").unwrap();
        seen.extend_from_slice(&piece.expect("the stream ended"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opened_at_one_node_and_used_at_another() {
    let mut cluster = Cluster::start().await;
    let (a, b) = (&cluster.a, &cluster.b);
    let client = Client::open(a).await;
    assert!(client.session.starts_with("a."), "{}", client.session);
    let initialized = message(None, "notifications/initialized", json!({}));
    assert_eq!(client.post(b, &initialized).await.status(), 202);

    let (status, body) =
        client.ask(b, "tools/call", json!({"name": "script__large", "arguments": {"bytes": LARGE}})).await;
    let text = body["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!((status, text.len()), (200, LARGE));
    let large = json!({"name": "script__large", "arguments": {"bytes": 0, "much": "y".repeat(LARGE)}});
    assert_eq!(client.ask(b, "tools/call", large).await.0, 200, "a large request");

    let mut stream = timeout(PATIENCE, client.request(reqwest::Method::GET, b).send()).await.unwrap().unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    client.ask(a, "tools/call", json!({"name": "script__grow", "arguments": {"name": "more"}})).await;
    assert_eq!(first_event(&mut stream).await["method"], "notifications/tools/list_changed");
    let (_, body) = client.ask(b, "tools/list", json!({})).await;
    assert!(body["result"]["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "script__more"), "{body}");

    let ended = timeout(PATIENCE, client.request(reqwest::Method::DELETE, b).send()).await.unwrap().unwrap();
    assert_eq!(ended.status(), 204);
    while let Some(piece) = timeout(PATIENCE, stream.chunk()).await.unwrap().unwrap() {
        assert!(!piece.is_empty());
    }
    for node in [a, b] {
        assert_eq!(client.ask(node, "ping", json!({})).await.0, 404);
    }

    // Its node dies, in the middle of a stream.
    let client = Client::open(a).await;
    let mut stream = timeout(PATIENCE, client.request(reqwest::Method::GET, b).send()).await.unwrap().unwrap();
    assert_eq!(client.ask(b, "ping", json!({})).await.0, 200);
    cluster.a.kill().await.unwrap();
    let end = timeout(PATIENCE, async {
        while let Some(_piece) = stream.chunk().await? {}
        reqwest::Result::Ok(())
    });
    assert!(end.await.expect("the stream hangs").is_err(), "a silent end");
    let b = &cluster.b;
    // It was heard a moment ago, and may have lost no more than its connection.
    let gone = timeout(PATIENCE, async {
        loop {
            let (status, body) = client.ask(b, "ping", json!({})).await;
            if status != 503 {
                return (status, body);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let (status, body) = gone.await.unwrap();
    assert_eq!((status, &body["error"]["code"], &body["id"]), (404, &json!(40400), &json!(1)), "{body}");
    let again = Client::open(b).await;
    assert_eq!(again.ask(b, "tools/call", json!({"name": "script__large", "arguments": {"bytes": 1}})).await.0, 200);

    // A node that comes back under its name has not its sessions.
    cluster.a.restart().await.unwrap();
    cluster.a.wait_servers(&["script"], ServerState::Ready).await.unwrap();
    for node in [&cluster.a, &cluster.b] {
        assert_eq!(client.ask(node, "ping", json!({})).await.0, 404);
    }
    for node in [&mut cluster.a, &mut cluster.b] {
        node.stop().await.unwrap();
    }
}

/// Without the bus a node cannot know whether a session is gone: it says so, and the client keeps its session.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_the_bus_says_try_again() {
    let mut cluster = Cluster::start().await;
    let client = Client::open(&cluster.a).await;
    cluster._nats.kill();
    let refused = timeout(PATIENCE, async {
        loop {
            let response = client.post(&cluster.b, &message(Some(1), "ping", json!({}))).await;
            if response.status() != 200 {
                return response;
            }
        }
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.status(), 503, "{:?}", refused.text().await);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(client.ask(&cluster.a, "ping", json!({})).await.0, 200, "its own node needs no bus");
    cluster._nats.restart().await.unwrap();
    let back = timeout(PATIENCE, async { while client.ask(&cluster.b, "ping", json!({})).await.0 != 200 {} });
    back.await.unwrap();
}

/// A balancer that sends every request to the next node.
struct Balancer {
    url: String,
    task: JoinHandle<()>,
}

struct Targets {
    client: reqwest::Client,
    nodes: Vec<String>,
    next: AtomicUsize,
}

impl Balancer {
    async fn start(nodes: &[&Node]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let nodes = nodes.iter().map(|node| node.url("")).collect();
        let targets = Arc::new(Targets { client: http_client(), nodes, next: AtomicUsize::new(0) });
        let app = axum::Router::new().fallback(balance).with_state(targets);
        let task = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Self { url, task }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn balance(State(targets): State<Arc<Targets>>, request: axum::extract::Request) -> Response {
    let (Parts { method, uri, mut headers, .. }, body) = request.into_parts();
    let node = &targets.nodes[targets.next.fetch_add(1, Ordering::SeqCst) % targets.nodes.len()];
    let path = uri.path_and_query().map_or("", |path| path.as_str()).trim_start_matches('/');
    for name in ["host", "content-length", "transfer-encoding", "connection"] {
        headers.remove(name);
    }
    let request = targets.client.request(method, format!("{node}{path}")).headers(headers);
    let answer = request.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await.unwrap();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    response.headers_mut().remove("transfer-encoding");
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
}

fn operations(unique: &str, bytes: usize) -> Value {
    let mut steps = call("script__steps", json!({}));
    steps["progress"] = json!(true);
    let grow = call("script__grow", json!({ "name": unique }));
    json!([
        { "op": "list_tools" },
        steps,
        call("script__large", json!({ "bytes": bytes })),
        { "op": "wait_list_changed", "kind": "tools", "trigger": grow },
        { "op": "ping" },
    ])
}

fn check(document: &Value, bytes: usize, who: &str) {
    let results = document["results"].as_array().unwrap();
    for (result, op) in results.iter().zip(operations("x", bytes).as_array().unwrap()) {
        assert!(result.get("error").is_none(), "{who}: {op}: {result}");
    }
    let steps: Vec<_> =
        results[1]["progress"].as_array().unwrap().iter().filter_map(|step| step["progress"].as_f64()).collect();
    assert_eq!(steps.last(), Some(&3.0), "{who}: {steps:?}");
    assert_eq!(results[2]["ok"]["content"][0]["text"].as_str().map(str::len), Some(bytes), "{who}");
    assert_eq!(results[3]["ok"]["notification"]["method"], "notifications/tools/list_changed", "{who}");
}

/// 2024-11-05: the stream is at one node, and what is posted at both in turn. Older clients are given the same address.
#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_speak_http_with_sse() {
    let cluster = Cluster::start().await;
    let balancer = Balancer::start(&[&cluster.a, &cluster.b]).await;
    for sdk in [Sdk::TypeScriptLegacy, Sdk::PythonLegacy] {
        for (n, path) in ["sse", "mcp", "sse/script"].into_iter().enumerate() {
            let (via, who) = (Via::Http(format!("{}/{path}", balancer.url)), format!("{sdk:?} at {path}"));
            let mut operations = operations(&format!("{sdk:?}-sse-{n}"), LARGE_EVENT).to_string();
            if path == "sse/script" {
                operations = operations.replace("script__", "");
            }
            let operations = serde_json::from_str(&operations).unwrap();
            check(&cluster.peers.run_with(sdk, &via, &operations, &["--sse"]).await.unwrap(), LARGE_EVENT, &who);
        }
    }
    for node in [&cluster.a, &cluster.b] {
        let none = timeout(PATIENCE, async {
            while node.metric("spanwire_sessions", &[]).await.unwrap() > 0.0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        none.await.expect("a session outlives its client");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_need_no_sticky_balancer() {
    let mut cluster = Cluster::start().await;
    let balancer = Balancer::start(&[&cluster.a, &cluster.b]).await;
    let sdks = [Sdk::TypeScriptLegacy, Sdk::PythonLegacy];
    for sdk in sdks {
        let via = Via::Http(format!("{}/mcp", balancer.url));
        let document = cluster.peers.run(sdk, &via, &operations(&format!("{sdk:?}"), LARGE)).await.unwrap();
        check(&document, LARGE, &format!("{sdk:?}"));
    }
    // A node dies, and whoever initialises again goes on with the other.
    cluster.a.kill().await.unwrap();
    for sdk in sdks {
        let via = Via::Http(cluster.b.mcp_url(""));
        let document = cluster.peers.run(sdk, &via, &operations(&format!("alone-{sdk:?}"), LARGE)).await.unwrap();
        check(&document, LARGE, &format!("{sdk:?} alone"));
    }
}
