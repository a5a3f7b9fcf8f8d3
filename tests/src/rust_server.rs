//! A fast MCP server for measurements: hyper, no SDK, nothing decoded but what the answer needs.
//!
//! It serves both eras on `/mcp`, with two tools: `echo` returns its argument `text`, `sink` takes it and returns its
//! length. `POST /v1/traces` takes OTLP over HTTP and throws it away, so that a broker under test has somewhere to send
//! its spans.

use std::{
    borrow::Cow,
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use spanwire_mcp::{codes, header as mcp_header, meta::SERVER_INFO as SERVER_INFO_KEY, string_literal};
use tokio::net::TcpListener;

/// Largest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
const SERVER_INFO: &str = r#"{"name":"spanwire-bench-server","version":"0"}"#;
const TOOLS: &str = concat!(
    r#"[{"name":"echo","description":"Returns its text.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"#,
    r#""required":["text"]},"annotations":{"readOnlyHint":true,"idempotentHint":true}},"#,
    r#"{"name":"sink","description":"Takes a text and returns its length.","inputSchema":{"type":"object","properties":"#,
    r#"{"text":{"type":"string"}},"required":["text"]},"annotations":{"readOnlyHint":true,"idempotentHint":true}}]"#
);

/// Serves until the future is dropped. Fails only when the listener does.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let sessions = Arc::new(Sessions::default());
    // Dropping the set ends every connection.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let sessions = Arc::clone(&sessions);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let sessions = Arc::clone(&sessions);
                async move { Ok::<_, Infallible>(answer(request, &sessions).await) }
            });
            // A connection that breaks is the peer's business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Session ids are numbers handed out in order: one is known when it is not above the last.
#[derive(Default)]
struct Sessions {
    last: AtomicU64,
}

impl Sessions {
    fn open(&self) -> String {
        format!("bench-{}", self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn knows(&self, id: &str) -> bool {
        let number = id.strip_prefix("bench-").and_then(|digits| digits.parse::<u64>().ok());
        number.is_some_and(|number| (1..=self.last.load(Ordering::Relaxed)).contains(&number))
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Params<'a>,
}

#[derive(Default, Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Arguments<'a>,
}

#[derive(Default, Deserialize)]
struct Arguments<'a> {
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, sessions: &Sessions) -> Answer {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    match head.uri.path() {
        "/mcp" => mcp(&head.headers, &body.to_bytes(), sessions),
        "/v1/traces" => plain(StatusCode::OK),
        _ => plain(StatusCode::NOT_FOUND),
    }
}

fn mcp(headers: &HeaderMap, bytes: &[u8], sessions: &Sessions) -> Answer {
    let body: Body<'_> = match serde_json::from_slice(bytes) {
        Ok(body) => body,
        Err(error) => return fault(StatusCode::BAD_REQUEST, "null", codes::PARSE_ERROR, &error.to_string()),
    };
    let Some(id) = body.id.map(RawValue::get) else {
        return plain(StatusCode::ACCEPTED);
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if body.method == "initialize" {
        return initialize(id, sessions);
    }
    if header(mcp_header::PROTOCOL_VERSION) == Some(MODERN) {
        let name = header(mcp_header::NAME).and_then(mcp_header::decode_name);
        if header(mcp_header::METHOD) != Some(&*body.method) || name.as_deref() != body.params.name.as_deref() {
            return fault(StatusCode::BAD_REQUEST, id, codes::HEADER_MISMATCH, "headers differ from the body");
        }
        return result(id, &body, true);
    }
    match header(mcp_header::SESSION_ID) {
        None => fault(StatusCode::BAD_REQUEST, id, codes::INVALID_REQUEST, "no session and no modern revision"),
        Some(session) if sessions.knows(session) => result(id, &body, false),
        Some(_) => fault(StatusCode::NOT_FOUND, id, codes::INVALID_REQUEST, "unknown session"),
    }
}

fn initialize(id: &str, sessions: &Sessions) -> Answer {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"{LEGACY}","capabilities":{{"tools":{{}}}},"serverInfo":{SERVER_INFO}}}}}"#
    );
    let mut answer = json(StatusCode::OK, text.into());
    if let Ok(session) = sessions.open().parse() {
        answer.headers_mut().insert(mcp_header::SESSION_ID, session);
    }
    answer
}

/// The result of a request in the shape of its era.
fn result(id: &str, body: &Body<'_>, modern: bool) -> Answer {
    let cached = if modern { r#","ttlMs":60000,"cacheScope":"public""# } else { "" };
    let members = match (&*body.method, body.params.name.as_deref()) {
        ("tools/call", Some(tool @ ("echo" | "sink"))) => return call(id, tool, body.params.arguments.text, modern),
        ("tools/call", _) => return fault(StatusCode::OK, id, codes::INVALID_PARAMS, "unknown tool"),
        ("tools/list", _) => format!(r#""tools":{TOOLS}{cached}"#),
        ("server/discover", _) if modern => {
            let meta = format!(r#""_meta":{{"{SERVER_INFO_KEY}":{SERVER_INFO}}}"#);
            format!(r#""supportedVersions":["{MODERN}"],"capabilities":{{"tools":{{}}}}{cached},{meta}"#)
        }
        ("ping", _) if !modern => String::new(),
        (method, _) => {
            let status = if modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
            return fault(status, id, codes::METHOD_NOT_FOUND, &format!("no method {method:?} here"));
        }
    };
    let kind = if modern { r#""resultType":"complete","# } else { "" };
    json(StatusCode::OK, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{kind}{members}}}}}"#).into())
}

fn call(id: &str, tool: &str, text: Option<&RawValue>, modern: bool) -> Answer {
    let Some(text) = text.map(RawValue::get).filter(|raw| raw.starts_with('"')) else {
        return fault(StatusCode::OK, id, codes::INVALID_PARAMS, "\"text\" must be a string");
    };
    let length = format!("\"{}\"", text.len() - 2);
    let text = if tool == "echo" { text } else { &length };
    let mut out = BytesMut::with_capacity(text.len() + 160);
    out.put_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.put_slice(id.as_bytes());
    out.put_slice(if modern { b",\"result\":{\"resultType\":\"complete\"," } else { b",\"result\":{" });
    out.put_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
    out.put_slice(text.as_bytes());
    out.put_slice(b"}],\"isError\":false}}");
    json(StatusCode::OK, out.freeze())
}

fn fault(status: StatusCode, id: &str, code: i64, message: &str) -> Answer {
    let message = string_literal(message);
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#);
    json(status, text.into())
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}
