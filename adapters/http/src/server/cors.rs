//! Pages of allowed origins may call from a browser (Fetch standard, "CORS protocol"). An origin that is not allowed has been
//! refused before anything here is asked, and a request without one is no page's: it gets none of these headers.

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use spanwire_mcp::header as mcp;

use super::{Edge, gate, refusal::Refusal};

/// Headers that a page may send. Those that mirror tool arguments are allowed by their prefix.
const REQUEST_HEADERS: [HeaderName; 10] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static(mcp::METHOD),
    HeaderName::from_static(mcp::NAME),
    HeaderName::from_static(mcp::PROTOCOL_VERSION),
    HeaderName::from_static(mcp::SESSION_ID),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
/// Headers of an answer that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("mcp-session-id, www-authenticate");
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// How long a browser may keep the answer to a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// Most headers that one preflight may ask for.
const MAX_ASKED: usize = 64;

/// True for the question of a browser whether a page may send a request.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers a preflight of an allowed origin. Who calls is not asked: a browser sends no credentials with it.
pub(crate) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Ok(allowed) = HeaderValue::from_str(&allowed(asked)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    let vary = "origin, access-control-request-method, access-control-request-headers";
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    response
}

/// Those of the headers asked for that may be sent. One that may not be is left out, and so refused by the browser.
fn allowed(asked: &HeaderMap) -> String {
    let lines = asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).take(MAX_ASKED).map(|name| name.trim().to_ascii_lowercase());
    let may = |name: &String| {
        let mirrored = name.strip_prefix(mcp::PARAM_PREFIX).filter(|rest| !rest.is_empty());
        let mirrors = mirrored.is_some_and(|rest| HeaderName::from_bytes(rest.as_bytes()).is_ok());
        mirrors || REQUEST_HEADERS.iter().any(|header| header == name.as_str())
    };
    names.filter(may).collect::<Vec<_>>().join(", ")
}

/// Lets a page of an allowed origin read an answer. Credentials travel in a header of their own, so that cookies need no
/// leave.
fn allow(origin: &HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    vary(headers);
}

/// The answer depends on the origin, whether that is allowed or not.
fn vary(headers: &mut HeaderMap) {
    headers.entry(header::VARY).or_insert(HeaderValue::from_static("origin"));
}

/// The page of a browser that a request comes from, if one does.
pub(crate) enum Page {
    None,
    Allowed(HeaderValue),
    Refused,
}

impl Page {
    pub(crate) fn of(edge: &Edge, request: &Request) -> Self {
        match request.headers().get(header::ORIGIN) {
            None => Self::None,
            Some(origin) if gate::origin(&edge.config, request.headers()).is_ok() => Self::Allowed(origin.clone()),
            Some(_) => Self::Refused,
        }
    }

    /// The response, with what the browser wants to know.
    pub(crate) async fn answered(self, handled: impl Future<Output = Result<Response, Refusal>>) -> Response {
        let mut response = Box::pin(handled).await.unwrap_or_else(IntoResponse::into_response);
        match self {
            Self::None => {}
            Self::Allowed(origin) => allow(&origin, &mut response),
            Self::Refused => vary(response.headers_mut()),
        }
        response
    }
}
