//! A request that ends before it becomes a call: an HTTP status and a JSON-RPC error.

use axum::{
    body::Body,
    response::{IntoResponse, Response as HttpResponse},
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, header};
use spanwire_mcp::{RequestId, Response};
use spanwire_model::{Error, ErrorKind};

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    id: Option<RequestId>,
    error: Box<Error>,
    header: Option<(header::HeaderName, &'static str)>,
}

impl Refusal {
    /// A refusal with a status of its own.
    pub(crate) fn new(status: StatusCode, error: Error) -> Self {
        let header = (status == StatusCode::UNAUTHORIZED).then_some((header::WWW_AUTHENTICATE, "Bearer"));
        Self { status, id: None, error: Box::new(error), header }
    }

    /// A refusal with the status that the error table gives.
    pub(crate) fn of(error: Error) -> Self {
        Self::new(status_of(&error), error)
    }

    /// 400 with an error of this kind.
    pub(crate) fn bad_request(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Error::new(kind, text.into()))
    }

    /// 405.
    pub(crate) fn method_not_allowed(method: &Method) -> Self {
        let text = format!("http {method} needs a legacy session: send messages with POST");
        let error = Error::new(ErrorKind::InvalidRequest, text);
        Self { header: Some((header::ALLOW, "POST")), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    /// 405 of the stream of 2024-11-05.
    pub(crate) fn stream_only(method: &Method) -> Self {
        let text =
            format!("http {method} is not for this stream: open it with GET, then POST to the endpoint that it names");
        let error = Error::new(ErrorKind::InvalidRequest, text);
        Self { header: Some((header::ALLOW, "GET")), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    /// 503: the same may work in a moment, here or elsewhere.
    pub(crate) fn try_again(error: Error) -> Self {
        Self { header: Some((header::RETRY_AFTER, "1")), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error) }
    }

    /// The refusal of a body that did not arrive whole; the connection cannot be used further.
    pub(crate) fn closing(status: StatusCode, error: Error) -> Self {
        Self { header: Some((header::CONNECTION, "close")), ..Self::new(status, error) }
    }

    /// Names the request that is refused.
    pub(crate) fn with_id(self, id: RequestId) -> Self {
        Self { id: Some(id), ..self }
    }
}

/// Logs an error on its way out, once, with what the caller is not told. The broker's own failures are louder.
pub(crate) fn note(error: &Error) {
    let (kind, private) = (error.kind_name(), error.private.as_deref());
    if error.kind == ErrorKind::Internal {
        tracing::warn!(kind, private, "a request failed: {error}");
    } else {
        tracing::debug!(kind, private, "a request failed: {error}");
    }
}

/// The status of an error that is a whole response.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> HttpResponse {
        note(&self.error);
        let message = Response { id: self.id, outcome: Err(self.error.to_object()) };
        let mut response = json(self.status, without_null_id(message.to_bytes()));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A JSON response.
pub(crate) fn json(status: StatusCode, message: Bytes) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(message));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error about an unreadable request has no `id` in MCP, where JSON-RPC has `null`
/// (2026-07-28, basic/transports/streamable-http, "Security & Endpoint").
fn without_null_id(message: Bytes) -> Bytes {
    const NULL_ID: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":null,";
    const NO_ID: &[u8] = b"{\"jsonrpc\":\"2.0\",";
    let Some(rest) = message.strip_prefix(NULL_ID) else { return message };
    let mut out = BytesMut::with_capacity(NO_ID.len() + rest.len());
    out.put_slice(NO_ID);
    out.put_slice(rest);
    out.freeze()
}
