//! JSON-RPC 2.0 messages with raw `params`, `result` and `error` (2026-07-28, basic/index, "Messages").

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Json, Method, RequestId, codes,
    json::{deeper_than, string_literal},
};

/// What a single body may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Length of a body in bytes.
    pub max_bytes: usize,
    /// Nesting of objects and arrays.
    pub max_depth: usize,
    /// Messages in a batch.
    pub max_batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 16 * 1024 * 1024, max_depth: 64, max_batch: 64 }
    }
}

/// One JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Is one.
    Response(Response),
}

/// A request: an id, a method, and params as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The sender's id.
    pub id: RequestId,
    /// The method.
    pub method: Method,
    /// The params object, byte for byte; `None` when absent.
    pub params: Option<Json>,
}

/// A notification: a method and params as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The method.
    pub method: Method,
    /// The params object, byte for byte; `None` when absent.
    pub params: Option<Json>,
}

/// A response to the request with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The id of the request; `None` only in an error about a request whose id could not be read.
    pub id: Option<RequestId>,
    /// The result, byte for byte, or the error.
    pub outcome: Result<Json, ErrorObject>,
}

/// The error member of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorObject {
    /// A JSON-RPC code.
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// Anything else, byte for byte.
    pub data: Option<Json>,
}

/// What a body holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// One message.
    Single(Message),
    /// An array of messages, each good or bad on its own (2025-03-26 only).
    Batch(Vec<Result<Message, WireError>>),
}

/// Why a body is not a message. Its text is safe to send to the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The class of the fault.
    pub kind: WireErrorKind,
    /// What is wrong, and where.
    pub message: String,
    /// The id of the bad request, when it could be read.
    pub id: Option<RequestId>,
}

/// Classes of [`WireError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireErrorKind {
    /// Not JSON.
    Malformed,
    /// JSON, but no JSON-RPC message.
    Invalid,
    /// Above a limit.
    TooLarge,
}

impl WireError {
    fn new(kind: WireErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), id: None }
    }

    /// The JSON-RPC code for the fault.
    pub fn code(&self) -> i64 {
        match self.kind {
            WireErrorKind::Malformed => codes::PARSE_ERROR,
            WireErrorKind::Invalid | WireErrorKind::TooLarge => codes::INVALID_REQUEST,
        }
    }

    /// The response that tells the peer.
    pub fn to_response(&self) -> Response {
        Response { id: self.id.clone(), outcome: Err(ErrorObject::new(self.code(), self.message.clone())) }
    }
}

impl ErrorObject {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"{\"code\":");
        out.put_slice(self.code.to_string().as_bytes());
        out.put_slice(b",\"message\":");
        out.put_slice(string_literal(&self.message).as_bytes());
        if let Some(data) = &self.data {
            out.put_slice(b",\"data\":");
            out.put_slice(data.as_bytes());
        }
        out.put_u8(b'}');
    }
}

/// The envelope. serde's derive refuses a key that comes twice, whatever its spelling.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Keeps an explicit `null` apart from an absent member.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct ErrorMembers<'a> {
    code: i64,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl Message {
    /// Reads one body. An array is read as a batch when `batches` is set and refused otherwise.
    pub fn parse(body: &Bytes, limits: &Limits, batches: bool) -> Result<Parsed, WireError> {
        if body.len() > limits.max_bytes {
            let text = format!("message has {} bytes, the limit is {}", body.len(), limits.max_bytes);
            return Err(WireError::new(WireErrorKind::TooLarge, text));
        }
        if deeper_than(body, limits.max_depth) {
            let text = format!("message nests deeper than {} levels", limits.max_depth);
            return Err(WireError::new(WireErrorKind::TooLarge, text));
        }
        match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') if batches => Self::parse_batch(body, limits),
            Some(b'[') => {
                serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|error| malformed(&error))?;
                let text = "this protocol revision has no batches: send one message per body";
                Err(WireError::new(WireErrorKind::Invalid, text))
            }
            _ => Self::parse_one(body).map(Parsed::Single),
        }
    }

    /// Reads one body that must be a single message.
    pub fn parse_single(body: &Bytes, limits: &Limits) -> Result<Self, WireError> {
        match Self::parse(body, limits, false)? {
            Parsed::Single(message) => Ok(message),
            Parsed::Batch(_) => Err(WireError::new(WireErrorKind::Invalid, "expected a single message")),
        }
    }

    fn parse_batch(body: &Bytes, limits: &Limits) -> Result<Parsed, WireError> {
        let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        if items.is_empty() {
            return Err(WireError::new(WireErrorKind::Invalid, "a batch must not be empty"));
        }
        if items.len() > limits.max_batch {
            let text = format!("batch has {} messages, the limit is {}", items.len(), limits.max_batch);
            return Err(WireError::new(WireErrorKind::TooLarge, text));
        }
        Ok(Parsed::Batch(items.into_iter().map(|raw| Self::parse_one(Json::slice_of(body, raw).as_bytes())).collect()))
    }

    fn parse_one(body: &Bytes) -> Result<Self, WireError> {
        let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
        let invalid =
            |text: &str, id: Option<RequestId>| WireError { id, ..WireError::new(WireErrorKind::Invalid, text) };
        let id = match envelope.id.map(|raw| serde_json::from_str::<Option<RequestId>>(raw.get())) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(invalid("\"id\" must be a string or an integer", None)),
        };
        let readable = id.clone().flatten();
        if envelope.jsonrpc.as_deref() != Some("2.0") {
            return Err(invalid("\"jsonrpc\" must be \"2.0\"", readable));
        }
        let params = match envelope.params {
            None => None,
            Some(raw) if raw.get().starts_with('{') => Some(Json::slice_of(body, raw)),
            Some(_) => return Err(invalid("\"params\" must be an object", readable)),
        };
        match (envelope.method, id, envelope.result, envelope.error) {
            (Some(method), Some(Some(id)), None, None) => {
                Ok(Self::Request(Request { id, method: Method::from(&*method), params }))
            }
            (Some(_), Some(None), None, None) => Err(invalid("the \"id\" of a request must not be null", None)),
            (Some(method), None, None, None) => {
                Ok(Self::Notification(Notification { method: Method::from(&*method), params }))
            }
            (None, Some(Some(id)), Some(result), None) => {
                Ok(Self::Response(Response { id: Some(id), outcome: Ok(Json::slice_of(body, result)) }))
            }
            (None, id, None, Some(error)) => {
                let members: ErrorMembers<'_> = serde_json::from_str(error.get())
                    .map_err(|_| invalid("\"error\" must have an integer \"code\" and a \"message\"", readable))?;
                let data = members.data.map(|raw| Json::slice_of(body, raw));
                let error = ErrorObject { code: members.code, message: members.message.into_owned(), data };
                Ok(Self::Response(Response { id: id.flatten(), outcome: Err(error) }))
            }
            (None, None | Some(_), None, None) => Err(invalid("\"method\" is missing", readable)),
            _ => {
                Err(invalid("a message has either \"method\", or \"id\" and one of \"result\" and \"error\"", readable))
            }
        }
    }

    /// The message as JSON text. What was carried unread may hold line breaks, as white space only: a transport of lines
    /// replaces them.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Notification(notification) => notification.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

const OPEN: &[u8] = b"{\"jsonrpc\":\"2.0\"";

fn write_call(id: Option<&RequestId>, method: &Method, params: Option<&Json>) -> Bytes {
    let mut out = BytesMut::with_capacity(96 + params.map_or(0, Json::len));
    out.put_slice(OPEN);
    if let Some(id) = id {
        out.put_slice(b",\"id\":");
        out.put_slice(id.to_json().as_bytes());
    }
    out.put_slice(b",\"method\":");
    out.put_slice(string_literal(method.as_str()).as_bytes());
    if let Some(params) = params {
        out.put_slice(b",\"params\":");
        out.put_slice(params.as_bytes());
    }
    out.put_u8(b'}');
    one_line(out)
}

/// Raw parts come as the peer wrote them, perhaps over several lines; a message goes on in one.
fn one_line(mut out: BytesMut) -> Bytes {
    join_lines(&mut out);
    out.freeze()
}

/// Puts JSON text into one line, in place. A line break in it stands only between tokens, where a space does as well; where
/// lines frame messages it would end the message and let the rest pass for another one.
pub fn join_lines(text: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &text[at..]) {
        text[at + found] = b' ';
        at += found + 1;
    }
}

impl Request {
    /// The request as JSON text.
    pub fn to_bytes(&self) -> Bytes {
        write_call(Some(&self.id), &self.method, self.params.as_ref())
    }
}

impl Notification {
    /// The notification as JSON text.
    pub fn to_bytes(&self) -> Bytes {
        write_call(None, &self.method, self.params.as_ref())
    }
}

impl Response {
    /// The response as JSON text.
    pub fn to_bytes(&self) -> Bytes {
        let size = self.outcome.as_ref().map_or(256, Json::len);
        let mut out = BytesMut::with_capacity(64 + size);
        out.put_slice(OPEN);
        out.put_slice(b",\"id\":");
        match &self.id {
            Some(id) => out.put_slice(id.to_json().as_bytes()),
            None => out.put_slice(b"null"),
        }
        match &self.outcome {
            Ok(result) => {
                out.put_slice(b",\"result\":");
                out.put_slice(result.as_bytes());
            }
            Err(error) => {
                out.put_slice(b",\"error\":");
                error.write(&mut out);
            }
        }
        out.put_u8(b'}');
        one_line(out)
    }
}

fn malformed(error: &serde_json::Error) -> WireError {
    match error.classify() {
        serde_json::error::Category::Data => {
            WireError::new(WireErrorKind::Invalid, format!("not a JSON-RPC message: {error}"))
        }
        _ => WireError::new(WireErrorKind::Malformed, format!("not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests;
