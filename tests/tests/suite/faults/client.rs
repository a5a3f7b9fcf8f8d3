//! A client that says exactly what is on the wire.

use reqwest::{RequestBuilder, header};
use serde_json::{Value, json};
use spanwire_mcp::{header as mcp, meta};
use tokio::task::JoinHandle;

/// A modern client of one node. Every call has a connection of its own, which ends with it.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    url: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The response; notifications before it are in `events`.
    pub(super) body: Value,
    pub(super) events: Vec<Value>,
}

/// A broker's own condition, as a client tells it apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) code: i64,
    pub(super) kind: String,
    pub(super) retry: String,
}

impl Client {
    pub(super) fn new(url: String) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { http, url }
    }

    /// Calls a tool.
    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.try_call(tool, arguments).await.unwrap()
    }

    /// The same, when the node itself may be gone.
    pub(super) async fn try_call(&self, tool: &str, arguments: Value) -> reqwest::Result<Answer> {
        let params = json!({ "name": tool, "arguments": arguments });
        self.send("tools/call", Some(tool), params).await
    }

    /// The same, asking for progress.
    pub(super) async fn call_with_progress(&self, tool: &str, arguments: Value) -> Answer {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": "p" } });
        self.send("tools/call", Some(tool), params).await.unwrap()
    }

    /// Begins a call. Aborting the handle closes the connection.
    pub(super) fn begin(&self, tool: &str, arguments: Value) -> JoinHandle<Answer> {
        let (client, tool) = (self.clone(), tool.to_owned());
        tokio::spawn(async move { client.call(&tool, arguments).await })
    }

    /// The names of all tools.
    pub(super) async fn tools(&self) -> Vec<String> {
        let answer = self.send("tools/list", None, json!({})).await.unwrap();
        let tools = answer.body["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn send(&self, method: &str, name: Option<&str>, mut params: Value) -> reqwest::Result<Answer> {
        params["_meta"][meta::PROTOCOL_VERSION] = "2026-07-28".into();
        params["_meta"][meta::CLIENT_CAPABILITIES] = json!({});
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self.post(&body).header(mcp::PROTOCOL_VERSION, "2026-07-28").header(mcp::METHOD, method);
        if let Some(name) = name {
            request = request.header(mcp::NAME, &*mcp::encode_name(name));
        }
        read(request).await
    }

    fn post(&self, body: &Value) -> RequestBuilder {
        let accept = "application/json, text/event-stream";
        let json = "application/json";
        self.http
            .post(&self.url)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, json)
            .body(body.to_string())
    }
}

async fn read(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let text = String::from_utf8(response.bytes().await?.to_vec()).unwrap();
    let mut events: Vec<Value> = match kind.as_deref() {
        Some("text/event-stream") => text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect(),
        _ if text.is_empty() => vec![Value::Null],
        _ => vec![serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))],
    };
    let body = events.pop().unwrap_or_default();
    Ok(Answer { status, body, events })
}

impl Answer {
    /// The text of a right answer.
    pub(super) fn text(&self) -> &str {
        let text = self.body["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no result: {} {}", self.status, self.body))
    }

    /// The text, if it is a right answer.
    pub(super) fn ok(&self) -> Option<&str> {
        self.body["result"]["content"][0]["text"].as_str()
    }

    /// The condition that the broker reports.
    pub(super) fn condition(&self) -> Condition {
        let error = &self.body["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Condition {
            code: error["code"]
                .as_i64()
                .unwrap_or_else(|| panic!("no error: {} {:.300}", self.status, self.body.to_string())),
            kind: text(&error["data"]["kind"]),
            retry: text(&error["data"]["retry"]),
        }
    }

    /// Fails unless the answer is this condition, with a text that names what it is about.
    pub(super) fn must_be(&self, code: i64, kind: &str, retry: &str, about: &str) {
        let expected = Condition { code, kind: kind.into(), retry: retry.into() };
        assert_eq!(self.condition(), expected, "{}", self.body);
        let message = self.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(about), "{message:?} does not name {about:?}");
    }

    pub(super) fn must_be_lost(&self, server: &str) {
        self.must_be(50410, "stream_lost", "if_idempotent", &format!("\"{server}\""));
    }

    pub(super) fn must_be_unavailable(&self, server: &str) {
        self.must_be(50300, "unavailable", "safe", &format!("\"{server}\""));
    }
}
