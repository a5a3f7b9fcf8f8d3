//! The transport of 2024-11-05, as a server: a stream with everything, and an endpoint to post to.

use spanwire_http::server::SessionPlaces;
use spanwire_model::EraChoice;

use super::{
    double::notification,
    legacy::{initialize_with, request},
    relay::Pair,
    *,
};

/// A client of the old transport.
struct Sse<'a> {
    node: &'a Node,
    events: Events,
    endpoint: String,
}

fn get(node: &Node, path: &str) -> reqwest::RequestBuilder {
    node.client.get(format!("http://{}{path}", node.address)).header("accept", "text/event-stream")
}

impl<'a> Sse<'a> {
    async fn connect(node: &'a Node, path: &str) -> Self {
        Self::connect_with(node, get(node, path)).await
    }

    async fn connect_with(node: &'a Node, request: reqwest::RequestBuilder) -> Self {
        let mut events = Events::open(request).await;
        let first = events.block().await.unwrap();
        let endpoint = first.strip_prefix("event: endpoint\ndata: ").expect(&first).to_owned();
        Self { node, events, endpoint }
    }

    /// What the SDKs send with a message.
    fn post_at(&self, node: &Node, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("http://{}{}", node.address, self.endpoint);
        node.client.post(url).header("content-type", "application/json").body(body.to_string())
    }

    fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.post_at(self.node, body)
    }

    /// Posts, and what is said next.
    async fn ask(&mut self, body: &Value) -> Value {
        assert_eq!(ask(self.post(body)).await, (202, Value::Null), "{body}");
        self.events.message().await.unwrap()
    }

    async fn open(node: &'a Node, path: &str) -> Self {
        let mut sse = Self::connect(node, path).await;
        sse.initialize().await;
        sse
    }

    async fn initialize(&mut self) {
        let capabilities = json!({"elicitation": {}, "roots": {}});
        let answer = self.ask(&initialize_with("2024-11-05", capabilities)).await;
        assert_eq!((&answer["id"], &answer["result"]["protocolVersion"]), (&json!("init"), &json!("2024-11-05")));
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(ask(self.post(&initialized)).await, (202, Value::Null));
    }
}

/// Every byte, but the id.
#[tokio::test]
async fn an_endpoint_and_messages() {
    let node = node().await;
    let mut sse = Sse::connect(&node, "/sse").await;
    let id = sse.endpoint.strip_prefix("/sse?sessionId=").unwrap();
    assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 4, "unguessable");
    let response = soon(sse.post(&initialize_with("2024-11-05", json!({}))).send()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().get("mcp-session-id")), (202, None));
    assert_eq!(soon(response.text()).await.unwrap(), "");
    let message = sse.events.block().await.unwrap();
    assert!(
        message.starts_with(
            "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"init\",\"result\":{\"protocolVersion\":\"2024-11-05\","
        ),
        "{message}"
    );
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    let raw = |body: &'static str| {
        let url = format!("http://{}{}", node.address, sse.endpoint);
        node.client.post(url).header("content-type", "application/json").body(body)
    };
    assert_eq!(ask(raw(ping)).await.0, 202);
    let message = sse.events.block().await;
    assert_eq!(message.as_deref(), Some("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}"));
}

#[tokio::test]
async fn everything_of_a_session_works() {
    let node = node().await;
    let mut sse = Sse::open(&node, "/sse").await;
    let answer = sse.ask(&request(1, "tools/list", json!({}))).await;
    assert_eq!(answer["result"]["tools"][0]["name"], "echo");
    assert_eq!(node.double.last().client.revision.as_str(), "2024-11-05");
    let call = request(2, "tools/call", json!({"name": "progress", "_meta": {"progressToken": "t"}}));
    for step in 1..=2 {
        let message = if step == 1 { sse.ask(&call).await } else { sse.events.message().await.unwrap() };
        assert_eq!(message["params"], json!({"progressToken": "t", "progress": step}));
    }
    assert_eq!(sse.events.message().await.unwrap()["id"], 2);
    let answer = sse.ask(&request(3, "tools/call", json!({"name": "nothing"}))).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(3), &json!(-32602)));

    // What a server asks in mid-call.
    let rounds = json!([{"a": {"method": "roots/list"}}]);
    let asked = sse.ask(&request(4, "tools/call", json!({"name": "asks", "arguments": {"rounds": rounds}}))).await;
    assert_eq!(asked["method"], "roots/list");
    let roots = json!({"roots": [{"uri": "file:///x"}]});
    let answer = sse.ask(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": roots})).await;
    assert_eq!(answer["result"]["structuredContent"]["inputResponses"], json!({"a": roots}));

    // What nobody asked for.
    node.double.changes.send(notification("notifications/tools/list_changed", json!({}))).unwrap();
    assert_eq!(sse.events.message().await.unwrap()["method"], "notifications/tools/list_changed");

    // A call among others, and its cancellation.
    let stuck = request(5, "tools/call", json!({"name": "stuck", "_meta": {"progressToken": 5}}));
    assert_eq!(sse.ask(&stuck).await["params"]["progressToken"], 5);
    assert_eq!(sse.ask(&request(6, "ping", json!({}))).await["id"], 6);
    assert_eq!(sse.ask(&request(5, "ping", json!({}))).await["error"]["code"], -32600, "the id is in use");
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(ask(sse.post(&cancelled)).await.0, 202);
    while node.double.dropped().await != "stuck" {}
}

#[tokio::test]
async fn closing_the_stream_ends_the_session_and_its_calls() {
    let node = node().await;
    let mut sse = Sse::open(&node, "/sse").await;
    sse.ask(&request(1, "tools/call", json!({"name": "stuck", "_meta": {"progressToken": 1}}))).await;
    let again = sse.post(&request(2, "ping", json!({})));
    drop(sse);
    let mut ended = [node.double.dropped().await, node.double.dropped().await];
    ended.sort();
    assert_eq!(ended, ["listen", "stuck"]);
    let (status, body) = ask(again).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!(40400)));
}

#[tokio::test]
async fn closing_the_stream_tells_a_server_that_waits_for_an_answer() {
    let node = node().await;
    let mut sse = Sse::open(&node, "/sse").await;
    let rounds = json!([{"a": {"method": "roots/list"}}]);
    let asked = sse.ask(&request(1, "tools/call", json!({"name": "asks", "arguments": {"rounds": rounds}}))).await;
    assert_eq!(asked["method"], "roots/list");
    assert_eq!(node.double.dropped().await, "asks");
    drop(sse);
    let mut ended = [node.double.dropped().await, node.double.dropped().await];
    ended.sort();
    assert_eq!(ended, ["asks", "listen"]);
    let told = node.double.last().params.to_value();
    assert_eq!(told["requestState"], "round \"1");
    let text = told["inputResponses"]["a"]["_meta"]["io.spanwire/error"]["message"].as_str().unwrap().to_owned();
    assert!(["the request has ended", "the request was cancelled"].contains(&text.as_str()), "{text}");
}

#[tokio::test]
async fn views_principals_and_the_gate() {
    let node = node().await;
    let mut sse = Sse::open(&node, "/sse/work").await;
    assert!(sse.endpoint.starts_with("/sse/work?sessionId="), "{}", sse.endpoint);
    assert_eq!(sse.ask(&request(1, "tools/list", json!({}))).await["id"], 1);
    assert_eq!(node.double.last().view.as_deref(), Some("work"));
    let ping = request(2, "ping", json!({}));
    assert_eq!(ask(sse.post(&ping).header("authorization", "Bearer ann-token")).await.0, 404);
    assert_eq!(ask(sse.post(&ping).header("authorization", "Bearer stolen")).await.0, 401);
    assert_eq!(ask(sse.post(&ping).header("origin", "http://evil.example")).await.0, 403);
    let url = format!("http://{}{}", node.address, sse.endpoint);
    assert_eq!(ask(node.client.post(url).body(ping.to_string())).await.0, 415);
    assert_eq!(ask(sse.post(&ping).body("{")).await.0, 400);
    sse.endpoint = sse.endpoint.replace("/work", "");
    assert_eq!(ask(sse.post(&ping)).await.0, 404, "another view");
    for (request, status) in [
        (get(&node, "/sse").header("origin", "http://evil.example"), 403),
        (get(&node, "/sse").header("host", "evil.example"), 403),
        (get(&node, "/sse").header("authorization", "Bearer stolen"), 401),
        (get(&node, "/sse/nowhere"), 404),
        (node.client.get(format!("http://{}/sse", node.address)).header("accept", "application/json"), 406),
        (get(&node, "/mcp").header("origin", "http://evil.example"), 403),
    ] {
        assert_eq!(soon(request.send()).await.unwrap().status(), status);
    }
    // A client that tries Streamable HTTP first finds out that this is something else.
    let url = format!("http://{}/sse", node.address);
    for request in [accept_both(node.client.post(&url)).body(ping.to_string()), node.client.delete(&url)] {
        let response = soon(request.send()).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET".parse().unwrap()));
    }
}

/// 2025-11-25, basic/transports, "Backwards Compatibility": a GET to the endpoint that refused `initialize`.
#[tokio::test]
async fn the_same_address_serves_it_too() {
    let node = node().await;
    let mut sse = Sse::open(&node, "/mcp/work").await;
    assert!(sse.endpoint.starts_with("/sse/work?sessionId="), "{}", sse.endpoint);
    assert_eq!(sse.ask(&request(1, "ping", json!({}))).await["id"], 1);
    // Only for those that ask for it by name.
    for accept in ["*/*", "text/html"] {
        let response = soon(node.client.get(node.url()).header("accept", accept).send()).await.unwrap();
        assert_eq!(response.status(), 405, "{accept}");
    }
    // A session of Streamable HTTP that is gone is gone.
    assert_eq!(ask(get(&node, "/mcp").header("mcp-session-id", "lost")).await.0, 404);

    let node = node_with(|config, _| config.era = EraChoice::Modern).await;
    assert_eq!(soon(get(&node, "/mcp").send()).await.unwrap().status(), 405);
    assert_eq!(soon(get(&node, "/sse").send()).await.unwrap().status(), 404);
    let node = node_with(|config, _| config.era = EraChoice::Legacy).await;
    Sse::open(&node, "/sse").await;
}

#[tokio::test]
async fn the_handshake_comes_first_and_once() {
    let node = node().await;
    let mut sse = Sse::connect(&node, "/sse").await;
    let (status, body) = ask(sse.post(&request(1, "ping", json!({})))).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32600)));
    // One that fails may be tried again.
    let failed = sse.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})).await;
    assert_eq!((&failed["id"], &failed["error"]["code"]), (&json!(1), &json!(-32602)));
    sse.initialize().await;
    let (status, body) = ask(sse.post(&initialize_with("2024-11-05", json!({})))).await;
    assert_eq!((status, &body["id"], &body["error"]["code"]), (400, &json!("init"), &json!(-32600)));
    // This connection has a session, and no other form of request.
    let answer = sse.ask(&call("echo")).await;
    assert!(answer["result"].get("resultType").is_none(), "{answer}");
    let session = sse.endpoint.split_once('=').unwrap().1.to_owned();
    let posted = accept_both(node.client.post(node.url())).header("mcp-session-id", session);
    assert_eq!(ask(posted.body(request(2, "ping", json!({})).to_string())).await.0, 404, "no session of /mcp");
}

#[tokio::test]
async fn what_is_open_is_bounded() {
    let node = node_with(|config, _| config.sessions = SessionPlaces::new(1)).await;
    let sse = Sse::open(&node, "/sse").await;
    let (status, body) = ask(get(&node, "/sse")).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!(42900)));
    drop(sse);
    node.double.dropped().await;
    Sse::open(&node, "/sse").await;
}

#[tokio::test]
async fn a_stream_counts_before_and_after_its_handshake() {
    let node = node_with(|config, _| config.max_listen_streams = 1).await;
    let refused = async || {
        let (status, body) = ask(get(&node, "/sse")).await;
        (status, body["error"]["message"].as_str().unwrap().contains("open streams"))
    };
    let mut sse = Sse::connect(&node, "/sse").await;
    assert_eq!(refused().await, (429, true));
    sse.initialize().await;
    assert_eq!(refused().await, (429, true));
    assert_eq!(sse.ask(&request(1, "ping", json!({}))).await["id"], 1);
    drop(sse);
    assert_eq!(node.double.dropped().await, "listen");
    // The place comes back without a handshake too, as soon as the node has seen that the client is gone.
    for _ in 0..2 {
        let place = async {
            loop {
                let response = get(&node, "/sse").send().await.unwrap();
                if response.status() == 200 {
                    break;
                }
            }
        };
        soon(place).await;
    }
}

#[tokio::test]
async fn posts_of_a_client_that_reads_nothing_are_bounded() {
    let node = node().await;
    let sse = Sse::open(&node, "/sse").await;
    let mut statuses = Vec::new();
    for id in 0..100 {
        statuses.push(ask(sse.post(&request(id, "tools/call", json!({"name": "forever"})))).await.0);
    }
    assert_eq!(statuses, [vec![202; 64], vec![429; 36]].concat());
}

#[tokio::test]
async fn a_node_that_stops_ends_the_streams() {
    let node = node().await;
    let mut sse = Sse::open(&node, "/sse").await;
    node.shutdown.cancel();
    assert_eq!(sse.events.message().await, None);
}

#[tokio::test]
async fn the_endpoint_may_be_posted_to_through_any_node() {
    let pair = Pair::start().await;
    let mut sse = Sse::connect(&pair.a, "/sse").await;
    assert!(sse.endpoint.starts_with("/sse?sessionId=a."), "{}", sse.endpoint);
    let hello = initialize_with("2024-11-05", json!({"roots": {}}));
    assert_eq!(ask(sse.post_at(&pair.b, &hello)).await, (202, Value::Null));
    assert_eq!(sse.events.message().await.unwrap()["id"], "init");
    for id in 0..4 {
        let node = if id % 2 == 0 { &pair.a } else { &pair.b };
        assert_eq!(ask(sse.post_at(node, &request(id, "tools/list", json!({})))).await, (202, Value::Null));
        assert_eq!(sse.events.message().await.unwrap()["id"], id);
    }
    assert_eq!(ask(sse.post_at(&pair.b, &json!(7))).await.0, 400);
    let ping = request(9, "ping", json!({}));
    assert_eq!(ask(sse.post_at(&pair.b, &ping).header("authorization", "Bearer ann-token")).await.0, 404);
    let again = sse.post_at(&pair.b, &ping);
    drop(sse);
    assert_eq!(pair.a.double.dropped().await, "listen");
    assert_eq!(ask(again).await.0, 404);
}
