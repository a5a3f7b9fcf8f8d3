//! A client that costs little and believes nothing: one HTTP/1.1 connection, one call at a time, every answer compared
//! with what was sent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use spanwire_mcp::{Era, header as mcp_header, meta, string_literal};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

const MAX_ANSWER_BYTES: usize = 32 << 20;
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const CLIENT_INFO: &str = r#"{"name":"spanwire-bench","version":"0"}"#;
/// Digits that make each text one of its kind.
const STAMP_BYTES: usize = 16;

/// Where calls go: an MCP endpoint over plain HTTP and the name of its echo tool.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    path: String,
    pub(super) tool: String,
}

impl Endpoint {
    /// `url` is `http://ADDRESS:PORT/PATH`.
    pub(super) fn new(url: &str, tool: &str) -> anyhow::Result<Self> {
        let rest = url.trim().strip_prefix("http://").with_context(|| format!("not an http url: {url:?}"))?;
        let (address, path) = rest.split_once('/').with_context(|| format!("no path in {url:?}"))?;
        Ok(Self { address: address.parse()?, path: format!("/{path}"), tool: tool.to_owned() })
    }
}

/// Texts of one length, each different, and the requests that carry them.
#[derive(Debug)]
pub(super) struct Payload {
    /// Between the id and the text.
    middle: String,
    /// The text behind its stamp.
    filler: Bytes,
    /// Behind the text.
    end: String,
    next: AtomicU64,
}

impl Payload {
    /// `length` in bytes, at least [`STAMP_BYTES`].
    pub(super) fn new(tool: &str, era: Era, length: usize) -> Arc<Self> {
        let tool = string_literal(tool);
        let meta = match era {
            Era::Modern => format!(
                r#","_meta":{{"{}":"{MODERN}","{}":{CLIENT_INFO},"{}":{{}}}}"#,
                meta::PROTOCOL_VERSION,
                meta::CLIENT_INFO,
                meta::CLIENT_CAPABILITIES
            ),
            Era::Legacy => String::new(),
        };
        let letters = b"the quick brown fox jumps over the lazy dog. ";
        let filler: Bytes = letters.iter().copied().cycle().take(length.saturating_sub(STAMP_BYTES)).collect();
        Arc::new(Self {
            middle: format!(r#","method":"tools/call","params":{{"name":{tool},"arguments":{{"text":""#),
            filler,
            end: format!(r#""}}{meta}}}}}"#),
            next: AtomicU64::new(1),
        })
    }

    /// A new request and its id.
    fn request(&self) -> (u64, Bytes) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut out = BytesMut::with_capacity(64 + self.middle.len() + self.filler.len() + self.end.len());
        out.put_slice(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id}").as_bytes());
        out.put_slice(self.middle.as_bytes());
        out.put_slice(format!("{id:016x}").as_bytes());
        out.put_slice(&self.filler);
        out.put_slice(self.end.as_bytes());
        (id, out.freeze())
    }

    /// Compares an answer with the request of that id: id, and every byte of the text.
    fn check(&self, id: u64, answer: &[u8]) -> anyhow::Result<()> {
        let answer: Answer<'_> = serde_json::from_slice(answer).context("the answer is no JSON-RPC response")?;
        ensure!(answer.id == id, "answer to {} instead of {id}", answer.id);
        if let Some(error) = answer.error {
            bail!("error: {}", error.get());
        }
        let content = answer.result.map(|result| result.content).unwrap_or_default();
        let [Content { text: Some(text) }] = content[..] else { bail!("answer without exactly one text") };
        let right = text.len() == STAMP_BYTES + self.filler.len()
            && text.as_bytes().get(..STAMP_BYTES) == Some(format!("{id:016x}").as_bytes())
            && text.as_bytes().get(STAMP_BYTES..) == Some(&self.filler[..]);
        ensure!(right, "answer {id} echoes another text, of {} bytes", text.len());
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    result: Option<ToolResult<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow)]
    content: Vec<Content<'a>>,
}

/// The text is borrowed: it has no escapes, so an answer that adds some is not what was sent.
#[derive(Deserialize)]
struct Content<'a> {
    text: Option<&'a str>,
}

/// One connection, with a session of its own in the legacy era.
#[derive(Debug)]
pub(super) struct Client {
    endpoint: Arc<Endpoint>,
    era: Era,
    headers: HeaderMap,
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// As many clients as wanted, all opened before anything is measured.
pub(super) async fn connect_all(endpoint: &Arc<Endpoint>, era: Era, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(Client::connect(endpoint, era).await.context("cannot connect")?);
    }
    Ok(clients)
}

impl Client {
    /// Connects, and opens a session where the era has them.
    pub(super) async fn connect(endpoint: &Arc<Endpoint>, era: Era) -> anyhow::Result<Self> {
        let (sender, driver) = open(endpoint.address).await?;
        let endpoint = Arc::clone(endpoint);
        let headers = base_headers(&endpoint, era)?;
        let mut client = Self { endpoint, era, headers, sender, _driver: driver };
        match era {
            Era::Modern => {}
            Era::Legacy => client.initialize().await.context("initialize")?,
        }
        Ok(client)
    }

    /// The same client on a new connection.
    pub(super) async fn reconnect(&self) -> anyhow::Result<Self> {
        Self::connect(&self.endpoint, self.era).await
    }

    /// Makes one call and checks its answer.
    pub(super) async fn call(&mut self, payload: &Payload) -> anyhow::Result<()> {
        let (id, body) = payload.request();
        let (status, headers, answer) = self.post(body).await?;
        if status != StatusCode::OK {
            bail!("status {status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(300)]));
        }
        payload.check(id, message(&headers, &answer)?)
    }

    async fn initialize(&mut self) -> anyhow::Result<()> {
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{CLIENT_INFO}}}}}"#
        );
        let (status, headers, answer) = self.post(hello.into()).await?;
        ensure!(status == StatusCode::OK, "status {status}: {}", String::from_utf8_lossy(&answer));
        let session = headers.get(mcp_header::SESSION_ID).context("no session id")?;
        self.headers.insert(mcp_header::SESSION_ID, session.clone());
        self.headers.insert(mcp_header::PROTOCOL_VERSION, HeaderValue::from_static(LEGACY));
        let ready = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let (status, _, _) = self.post(ready).await?;
        ensure!(status == StatusCode::ACCEPTED, "notifications/initialized: status {status}");
        Ok(())
    }

    async fn post(&mut self, body: Bytes) -> anyhow::Result<(StatusCode, HeaderMap, Bytes)> {
        let mut request = Request::post(self.endpoint.path.as_str()).body(Full::new(body))?;
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        tokio::time::timeout(CALL_TIMEOUT, exchange).await.context("no answer in time")?
    }
}

async fn open(address: SocketAddr) -> anyhow::Result<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // How the connection ended is seen by the call that it interrupts.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, AbortOnDropHandle::new(driver)))
}

fn base_headers(endpoint: &Endpoint, era: Era) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, endpoint.address.to_string().parse()?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    match era {
        Era::Modern => {
            headers.insert(mcp_header::PROTOCOL_VERSION, HeaderValue::from_static(MODERN));
            headers.insert(mcp_header::METHOD, HeaderValue::from_static("tools/call"));
            headers.insert(mcp_header::NAME, mcp_header::encode_name(&endpoint.tool).parse()?);
        }
        Era::Legacy => {}
    }
    Ok(headers)
}

/// The response in a body: all of it, or the data of the last event that has some when it is an event stream.
fn message<'a>(headers: &HeaderMap, body: &'a [u8]) -> anyhow::Result<&'a [u8]> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return Ok(body);
    }
    let mut lines = body.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find_map(|line| line.strip_prefix(b"data:")).context("an event stream without data")
}

#[cfg(test)]
mod tests;
