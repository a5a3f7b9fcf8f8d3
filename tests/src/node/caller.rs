//! A modern client without an SDK: one POST per request, with every header and `_meta` member in the hand of the test.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use serde_json::{Map, Value, json};
use spanwire_mcp::{header, meta};

use super::http_client;

const REVISION: &str = "2026-07-28";
/// Longest that anything may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one MCP endpoint.
#[derive(Debug, Clone)]
pub struct Caller {
    client: reqwest::Client,
    url: String,
    headers: Vec<(String, String)>,
    meta: Map<String, Value>,
}

impl Caller {
    /// A client without credentials or trace.
    pub fn new(url: impl Into<String>) -> Self {
        Self { client: http_client(), url: url.into(), headers: Vec::new(), meta: Map::new() }
    }

    /// The same with a header on each request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// The same with a member of `_meta` in each request.
    #[must_use]
    pub fn with_meta(mut self, key: &str, value: Value) -> Self {
        self.meta.insert(key.to_owned(), value);
        self
    }

    /// Sends a request and returns the whole response message, `{"jsonrpc":…,"result":…}` or with `error`.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value> {
        let mut stream = self.open(method, params).await?;
        loop {
            let message = stream.next().await?;
            if message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    /// Calls a tool and returns the response message.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<Value> {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// The names of all tools, all pages.
    pub async fn tools(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut params = json!({});
        loop {
            let answer = self.ask("tools/list", params).await?;
            let tools = answer["result"]["tools"].as_array().with_context(|| format!("no tools in {answer}"))?;
            names.extend(tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned));
            match answer["result"].get("nextCursor") {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(names),
            }
        }
    }

    /// Sends a request and returns as soon as the node answers, to read message by message. Dropping it cancels the request.
    pub async fn open(&self, method: &str, mut params: Value) -> Result<Messages> {
        let name = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str);
        let name = name.map(|name| header::encode_name(name).into_owned());
        let mut members = json!({
            (meta::PROTOCOL_VERSION): REVISION,
            (meta::CLIENT_INFO): { "name": "suite", "version": "1" },
            (meta::CLIENT_CAPABILITIES): {},
        });
        let all = members.as_object_mut().context("an object")?;
        all.extend(params.get("_meta").and_then(Value::as_object).cloned().unwrap_or_default());
        all.extend(self.meta.clone());
        params["_meta"] = members;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header(header::PROTOCOL_VERSION, REVISION)
            .header(header::METHOD, method)
            .body(body.to_string());
        if let Some(name) = name {
            request = request.header(header::NAME, name);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = tokio::time::timeout(ARRIVAL_TIMEOUT, request.send()).await.context("no answer in time")??;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        Ok(Messages { events: kind.starts_with("text/event-stream"), response, buffer: BytesMut::new() })
    }
}

/// What comes back on one request.
#[derive(Debug)]
pub struct Messages {
    response: reqwest::Response,
    events: bool,
    buffer: BytesMut,
}

impl Messages {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Value> {
        tokio::time::timeout(ARRIVAL_TIMEOUT, self.read()).await.context("no message in time")?
    }

    async fn read(&mut self) -> Result<Value> {
        loop {
            if let Some(message) = self.take_event()? {
                return Ok(message);
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => bail!("the stream ended with status {}", self.status()),
                None => {
                    let all = self.buffer.split();
                    return serde_json::from_slice(&all)
                        .with_context(|| format!("status {}: {}", self.status(), String::from_utf8_lossy(&all)));
                }
            }
        }
    }

    /// The data of the next whole event that has some (2026-07-28, basic/transports/streamable-http).
    fn take_event(&mut self) -> Result<Option<Value>> {
        while self.events {
            let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") else { break };
            let event = self.buffer.split_to(end + 2);
            let data = event[..].split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"));
            if let Some(data) = data.map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) {
                return Ok(Some(serde_json::from_slice(data)?));
            }
        }
        Ok(None)
    }
}
