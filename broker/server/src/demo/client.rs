//! A small MCP client over Streamable HTTP, as any agent would be (2026-07-28, basic/transports/streamable-http).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use spanwire_mcp::{Method, Revision, header, meta};
use spanwire_model::TraceContext;
use spanwire_rpc::v1::{Span, SpanKind};
use uuid::Uuid;

use crate::failure::{Exit, Failure};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;

/// A client with one trace for all that it does.
pub(crate) struct McpClient {
    http: reqwest::Client,
    endpoint: String,
    trace_id: u128,
    root: CallSpan,
    next_id: u64,
}

/// A span of the client itself, which no node records.
#[derive(Debug, Clone)]
pub(crate) struct CallSpan {
    trace_id: u128,
    id: u64,
    parent: Option<u64>,
    name: String,
    start_unix_nanos: u64,
    end_unix_nanos: u64,
    failed: bool,
}

impl CallSpan {
    fn begin(trace_id: u128, parent: Option<u64>, name: impl Into<String>) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "any 64 of the random bits are a span id")]
        let id = (Uuid::new_v4().as_u128() as u64).max(1);
        let now = now_unix_nanos();
        Self { trace_id, id, parent, name: name.into(), start_unix_nanos: now, end_unix_nanos: now, failed: false }
    }

    fn end(mut self, failed: bool) -> Self {
        self.end_unix_nanos = now_unix_nanos();
        self.failed = failed;
        self
    }

    /// The span beside those of the nodes.
    pub(crate) fn to_span(&self) -> Span {
        Span {
            trace_id: format!("{:032x}", self.trace_id),
            span_id: format!("{:016x}", self.id),
            parent_span_id: self.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
            name: self.name.clone(),
            kind: SpanKind::Client.into(),
            start_unix_nanos: self.start_unix_nanos,
            end_unix_nanos: self.end_unix_nanos,
            failed: self.failed,
            node: "this client".to_owned(),
            ..Span::default()
        }
    }
}

fn now_unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl McpClient {
    /// A client of an endpoint; its trace begins now.
    pub(crate) fn new(endpoint: impl Into<String>, workflow: &str) -> Result<Self, Failure> {
        let http =
            reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build().map_err(|error| broken(&error))?;
        let trace_id = Uuid::new_v4().as_u128().max(1);
        let root = CallSpan::begin(trace_id, None, workflow);
        Ok(Self { http, endpoint: endpoint.into(), trace_id, root, next_id: 1 })
    }

    /// The trace id in hex.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Ends the trace.
    pub(crate) fn finish(self) -> CallSpan {
        self.root.end(false)
    }

    /// Sends one request and waits for its result. `progress` gets the params of each progress notification.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        mut params: Value,
        mut progress: impl FnMut(&Value),
    ) -> Result<(Value, CallSpan), Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let name =
            method.name_member().and_then(|member| params.get(member)).and_then(Value::as_str).map(str::to_owned);
        let label = name.as_ref().map_or_else(|| method.to_string(), |name| format!("{method} {name}"));
        let span = CallSpan::begin(self.trace_id, Some(self.root.id), label);
        let trace = TraceContext { trace_id: self.trace_id, span_id: span.id, sampled: true, tracestate: None };
        params["_meta"] = json!({
            meta::PROTOCOL_VERSION: Revision::CANONICAL.as_str(),
            meta::CLIENT_INFO: { "name": "spanwire-demo", "version": env!("CARGO_PKG_VERSION") },
            meta::CLIENT_CAPABILITIES: {},
            meta::PROGRESS_TOKEN: format!("demo-{id}"),
            meta::TRACEPARENT: trace.traceparent(),
        });
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method.as_str(), "params": params }).to_string();
        let mut request = self
            .http
            .post(&self.endpoint)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header(header::PROTOCOL_VERSION, Revision::CANONICAL.as_str())
            .header(header::METHOD, method.as_str())
            .header("traceparent", trace.traceparent());
        if let Some(name) = &name {
            request = request.header(header::NAME, header::encode_name(name).as_ref());
        }
        let response = request.body(body).send().await.map_err(|error| broken(&error))?;
        let reply = read_reply(response, id, &mut progress).await;
        let span = span.end(reply.is_err());
        reply.map(|result| (result, span))
    }
}

fn broken(error: &reqwest::Error) -> Failure {
    let exit = if error.is_timeout() { Exit::Deadline } else { Exit::Failed };
    Failure::new(exit, format!("the MCP endpoint: {error}"))
}

async fn read_reply(
    mut response: reqwest::Response,
    id: u64,
    progress: &mut impl FnMut(&Value),
) -> Result<Value, Failure> {
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let streamed = content_type.starts_with("text/event-stream");
    let mut buffer = Vec::new();
    let mut events = Events::default();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if buffer.len() + chunk.len() > MAX_REPLY_BYTES {
            return Err(Failure::failed(format!("the reply is longer than {MAX_REPLY_BYTES} bytes")));
        }
        buffer.extend_from_slice(&chunk);
        if streamed {
            while let Some(message) = events.next(&mut buffer) {
                if let Some(result) = outcome(&message, id, progress)? {
                    return Ok(result);
                }
            }
        }
    }
    let message: Value = serde_json::from_slice(&buffer).unwrap_or_default();
    outcome(&message, id, progress)?
        .ok_or_else(|| Failure::failed(format!("HTTP {} without a result", response.status().as_u16())))
}

/// The result in a message, if it is the one for this request.
fn outcome(message: &Value, id: u64, progress: &mut impl FnMut(&Value)) -> Result<Option<Value>, Failure> {
    if let Some(error) = message.get("error") {
        let text = error.get("message").and_then(Value::as_str).unwrap_or("an error without a text");
        return Err(Failure::failed(text));
    }
    if message.get("method").and_then(Value::as_str) == Some(Method::Progress.as_str()) {
        progress(message.get("params").unwrap_or(&Value::Null));
    }
    Ok(message.get("result").filter(|_| message.get("id") == Some(&id.into())).cloned())
}

/// Reads server-sent events as far as MCP uses them: the data, and nothing else.
#[derive(Default)]
pub(super) struct Events {
    data: String,
}

impl Events {
    /// Takes the next message out of the front of the buffer; `None` when more bytes are needed.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>) -> Option<Value> {
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            if let Some(data) = line.strip_prefix("data:") {
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            } else if line.is_empty() && !self.data.is_empty() {
                let data = std::mem::take(&mut self.data);
                if let Ok(message) = serde_json::from_str(&data) {
                    return Some(message);
                }
            }
        }
        None
    }
}
