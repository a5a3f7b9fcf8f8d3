//! Sessions of older revisions.

use super::*;
use crate::edge::double::notification;

/// A client with a session.
pub(super) struct Old<'a> {
    pub(super) node: &'a Node,
    pub(super) revision: &'static str,
    pub(super) session: String,
}

pub(super) fn initialize(revision: &str) -> Value {
    initialize_with(revision, json!({"sampling": {}, "roots": {"listChanged": true}}))
}

pub(super) fn initialize_with(revision: &str, capabilities: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
        "protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "old", "version": "1"},
    }})
}

pub(super) fn request(id: i64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

impl<'a> Old<'a> {
    pub(super) async fn open(node: &'a Node, revision: &'static str) -> Self {
        Self::open_as(node, revision, initialize(revision)).await
    }

    /// The same for a client that declares these capabilities.
    pub(super) async fn open_with(node: &'a Node, revision: &'static str, capabilities: Value) -> Self {
        Self::open_as(node, revision, initialize_with(revision, capabilities)).await
    }

    async fn open_as(node: &'a Node, revision: &'static str, initialize: Value) -> Self {
        let request = accept_both(node.client.post(node.url())).body(initialize.to_string());
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(body["result"]["protocolVersion"], revision);
        let old = Self { node, revision, session };
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(ask(old.post(&initialized)).await.0, 202);
        old
    }

    pub(super) fn dress(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        accept_both(request).header("mcp-session-id", &self.session).header("mcp-protocol-version", self.revision)
    }

    pub(super) fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.dress(self.node.client.post(self.node.url())).body(body.to_string())
    }

    pub(super) fn get(&self) -> reqwest::RequestBuilder {
        self.dress(self.node.client.get(self.node.url()))
    }
}

impl Old<'_> {
    /// Cancels a request; the status of the answer.
    pub(super) async fn cancel(&self, id: i64) -> u16 {
        let params = json!({"requestId": id});
        ask(self.post(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))).await.0
    }

    /// Answers a request of the node.
    pub(super) async fn answer(&self, id: &Value, result: Value) {
        let response = json!({"jsonrpc": "2.0", "id": id, "result": result});
        assert_eq!(ask(self.post(&response)).await, (202, Value::Null));
    }

    /// Ends the session.
    pub(super) async fn delete(&self) {
        let response = soon(self.dress(self.node.client.delete(self.node.url())).send()).await.unwrap();
        assert_eq!(response.status(), 204);
    }
}

#[tokio::test]
async fn a_session_from_initialize_to_delete() {
    let node = node().await;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let old = Old::open(&node, revision).await;
        let (status, body) = ask(old.post(&request(1, "ping", json!({})))).await;
        assert_eq!((status, &body["result"]), (200, &json!({})));
        let (status, body) = ask(old.post(&request(2, "tools/list", json!({})))).await;
        assert_eq!((status, body["result"].as_object().unwrap().len()), (200, 1), "{body}");
        let (_, body) = ask(old.post(&request(3, "logging/setLevel", json!({"level": "warning"})))).await;
        assert_eq!(body["result"], json!({}));
        let (_, body) = ask(old.post(&request(4, "tools/call", json!({"name": "echo"})))).await;
        assert!(body["result"].get("resultType").is_none());
        let meta = &body["result"]["structuredContent"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"sampling": {}, "roots": {}}));
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "old");
        assert_eq!(meta["io.modelcontextprotocol/logLevel"], "warning");
        assert_eq!(node.double.last().client.revision.as_str(), revision);
        old.delete().await;
        let (status, body) = ask(old.post(&request(5, "ping", json!({})))).await;
        assert_eq!((status, &body["error"]["code"], &body["id"]), (404, &json!(40400), &json!(5)));
        assert!(body["error"]["message"].as_str().unwrap().contains("initialize again"));
    }
}

#[tokio::test]
async fn the_handshake_says_what_the_session_can() {
    let node = node().await;
    let (status, body) =
        ask(accept_both(node.client.post(node.url())).body(initialize("2024-01-01").to_string())).await;
    assert_eq!((status, &body["id"]), (200, &json!("init")));
    assert_eq!(
        body["result"],
        json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "logging": {}, "completions": {}, "prompts": {"listChanged": true},
                "resources": {"subscribe": true, "listChanged": true}, "tools": {"listChanged": true},
            },
            "serverInfo": {"name": "double", "version": "1"},
        })
    );
}

#[tokio::test]
async fn errors_are_outcomes_under_200() {
    let node = node().await;
    let old = Old::open(&node, "2025-11-25").await;
    for (method, params, code) in [
        ("x/unknown", json!({}), -32601),
        ("server/discover", json!({}), -32601),
        ("tools/call", json!({"name": "nothing"}), -32602),
        ("tools/call", json!({"name": "missing"}), -32002),
        ("tools/call", json!({"name": "input"}), 50200),
        ("resources/read", json!({"uri": "a:missing"}), -32002),
        ("resources/read", json!({}), -32602),
        ("logging/setLevel", json!({"level": "loud"}), -32602),
        ("resources/subscribe", json!({"uri": "x:unknown"}), -32602),
    ] {
        let (status, body) = ask(old.post(&request(1, method, params))).await;
        assert_eq!((status, &body["error"]["code"]), (200, &json!(code)), "{method}: {body}");
    }
}

#[tokio::test]
async fn a_missing_resource_has_the_code_of_its_revision() {
    let node = node().await;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"] {
        let old = Old::open(&node, revision).await;
        let (_, body) = ask(old.post(&request(1, "resources/read", json!({"uri": "a:missing"})))).await;
        let text = "unknown resource \"a:missing\"";
        assert_eq!(body["error"], json!({"code": -32002, "message": text, "data": {"uri": "a:missing"}}), "{revision}");
    }
    let (_, body) = ask(node.post(&modern("resources/read", json!({"uri": "a:missing"})))).await;
    assert_eq!(body["error"]["code"], -32602, "the modern code");
}

#[tokio::test]
async fn notifications_pass_as_the_revision_knows_them() {
    let node = node().await;
    for (revision, knows) in [("2025-11-25", true), ("2025-06-18", false)] {
        let old = Old::open(&node, revision).await;
        // Modern servers have none: it is heard, and that is all.
        let changed = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
        assert_eq!(ask(old.post(&changed)).await, (202, Value::Null));
        // The acknowledgement is the listen stream's own.
        let (_, body) = ask(old.post(&request(1, "resources/subscribe", json!({"uri": "a:1"})))).await;
        assert_eq!(body["result"], json!({}));
        let complete = json!({"elicitationId": "e-1"});
        let tagged = json!({"uri": "a:1", "_meta": {"io.modelcontextprotocol/subscriptionId": 1, "x": 2}});
        node.double.changes.send(notification("notifications/elicitation/complete", complete.clone())).unwrap();
        node.double.changes.send(notification("notifications/resources/updated", tagged)).unwrap();
        let mut events = Events::open(old.get()).await;
        if knows {
            let message = events.message().await.unwrap();
            let method = "notifications/elicitation/complete";
            assert_eq!(message, json!({"jsonrpc": "2.0", "method": method, "params": complete}));
        }
        let message = events.message().await.unwrap();
        assert_eq!(message["params"], json!({"uri": "a:1", "_meta": {"x": 2}}), "{revision}");
        old.delete().await;
    }
}

#[tokio::test]
async fn what_waits_for_a_stream_is_bounded() {
    let node = node_with(|config, _| config.max_session_events = 2).await;
    let old = Old::open(&node, "2025-11-25").await;
    let updated = |n: i32| notification("notifications/resources/updated", json!({"uri": format!("a:{n}")}));
    let (_, body) = ask(old.post(&request(1, "resources/subscribe", json!({"uri": "a:1"})))).await;
    assert_eq!(body["result"], json!({}));
    for n in 1..6 {
        node.double.changes.send(updated(n)).unwrap();
    }
    // The subscription is one task: when it is open anew, the changes before have been taken.
    let (_, body) = ask(old.post(&request(2, "resources/unsubscribe", json!({"uri": "a:1"})))).await;
    assert_eq!(body["result"], json!({}));
    let mut events = Events::open(old.get()).await;
    assert_eq!(events.block().await.unwrap(), "id: 0-0\nretry: 1000\ndata: ");
    let mut uris = Vec::new();
    for _ in 0..2 {
        uris.push(events.message().await.unwrap()["params"]["uri"].clone());
    }
    node.double.changes.send(updated(9)).unwrap();
    uris.push(events.message().await.unwrap()["params"]["uri"].clone());
    assert_eq!(uris, ["a:4", "a:5", "a:9"], "the newest are kept");
}

#[tokio::test]
async fn a_session_belongs_to_its_principal_view_and_revision() {
    let node = node().await;
    let old = Old::open(&node, "2025-06-18").await;
    let ping = request(1, "ping", json!({}));
    assert_eq!(ask(old.post(&ping).header("authorization", "Bearer ann-token")).await.0, 404);
    let elsewhere = old.dress(node.client.post(format!("{}/work", node.url()))).body(ping.to_string());
    assert_eq!(ask(elsewhere).await.0, 404);
    let bare = || accept_both(node.client.post(node.url())).header("mcp-session-id", &old.session);
    assert_eq!(ask(bare().body(ping.to_string())).await.0, 200);
    for wrong in ["2025-11-25", "rubbish"] {
        assert_eq!(ask(bare().header("mcp-protocol-version", wrong).body(ping.to_string())).await.0, 400, "{wrong}");
    }
    let absent = accept_both(node.client.post(node.url())).header("mcp-protocol-version", "2025-06-18");
    let (status, body) = ask(absent.body(ping.to_string())).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32600)));
    let (status, _) = ask(old.post(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}))).await;
    assert_eq!(status, 202);
    assert_eq!(ask(old.post(&json!([ping]))).await.0, 400, "batches are of 2025-03-26 only");
}

#[tokio::test]
async fn a_cancelled_request_ends_without_a_response() {
    let node = node().await;
    let old = Old::open(&node, "2025-11-25").await;
    let mut events = Events::open(old.post(&request(7, "tools/call", json!({"name": "stuck"})))).await;
    events.message().await.unwrap();
    let (_, again) = ask(old.post(&request(7, "ping", json!({})))).await;
    assert_eq!(again["error"]["code"], -32600, "the id is in use");
    assert_eq!(old.cancel(7).await, 202);
    assert_eq!(node.double.dropped().await, "stuck");
    assert_eq!(events.message().await, None);
    assert_eq!(ask(old.post(&request(7, "ping", json!({})))).await.0, 200);
}

#[tokio::test]
async fn notifications_arrive_on_the_get_stream() {
    let node = node_with(|config, _| config.max_listen_streams = 1).await;
    let old = Old::open(&node, "2025-11-25").await;
    let (_, body) = ask(old.post(&request(1, "resources/subscribe", json!({"uri": "a:1"})))).await;
    assert_eq!(body["result"], json!({}));
    let asked = node.double.last().params.get("notifications").unwrap().to_value();
    assert_eq!(asked["resourceSubscriptions"], json!(["a:1"]));
    assert_eq!(asked["toolsListChanged"], true);
    assert_eq!(node.double.dropped().await, "listen", "the first stream gives way to the second");

    // Kept until there is a stream.
    let updated = notification("notifications/resources/updated", json!({"uri": "a:1"}));
    node.double.changes.send(updated).unwrap();
    let mut events = Events::open(old.get()).await;
    let message = events.message().await.unwrap();
    assert_eq!(
        (&message["method"], &message["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!("a:1"))
    );

    // A second stream takes the first one's place.
    let mut second = Events::open(old.get()).await;
    assert_eq!(events.message().await, None);
    node.double.changes.send(notification("notifications/tools/list_changed", json!({}))).unwrap();
    assert_eq!(second.message().await.unwrap()["method"], "notifications/tools/list_changed");

    let (_, body) = ask(old.post(&request(2, "resources/unsubscribe", json!({"uri": "a:1"})))).await;
    assert_eq!(body["result"], json!({}));
    let asked = node.double.last().params.get("notifications").unwrap().to_value();
    assert_eq!(asked.get("resourceSubscriptions"), None);

    old.delete().await;
    assert_eq!(second.message().await, None);
}

#[tokio::test]
async fn batches_of_2025_03_26() {
    let node = node().await;
    let old = Old::open(&node, "2025-03-26").await;
    let ping = request(1, "ping", json!({}));
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let (status, body) = ask(old.post(&json!([ping, initialized, request(2, "x/unknown", json!({})), 7]))).await;
    assert_eq!((status, body.as_array().unwrap().len()), (200, 3), "{body}");
    let code_of =
        |id: Value| body.as_array().unwrap().iter().find(|answer| answer["id"] == id).unwrap()["error"]["code"].clone();
    assert_eq!(code_of(json!(2)), -32601);
    assert_eq!(code_of(Value::Null), -32600);
    assert_eq!(ask(old.post(&json!([initialized]))).await, (202, Value::Null));
    let lost = accept_both(node.client.post(node.url())).header("mcp-session-id", "lost");
    assert_eq!(ask(lost.body(json!([ping]).to_string())).await.0, 404);

    let streamed = json!([ping, request(2, "tools/call", json!({"name": "progress", "_meta": {"progressToken": 1}}))]);
    let mut events = Events::open(old.post(&streamed)).await;
    let mut ids = Vec::new();
    while let Some(message) = events.message().await {
        ids.extend(message["id"].as_i64());
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}

#[tokio::test]
async fn idle_and_surplus_sessions() {
    let node = node_with(|config, _| {
        config.sessions = spanwire_http::server::SessionPlaces::new(1);
        config.session_idle_timeout = Duration::from_millis(200);
    })
    .await;
    let old = Old::open(&node, "2025-11-25").await;
    let (status, body) =
        ask(accept_both(node.client.post(node.url())).body(initialize("2025-11-25").to_string())).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!(42900)));
    // Its listen stream ends with it.
    assert_eq!(node.double.dropped().await, "listen");
    assert_eq!(ask(old.post(&request(1, "ping", json!({})))).await.0, 404);
    Old::open(&node, "2025-11-25").await;
}
