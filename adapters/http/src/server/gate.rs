//! What is checked before a body is read: where a request comes from, what it speaks, and who sends it.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use spanwire_model::{Dispatch, Error, ErrorKind, Principal};

use super::{Authenticate, Caller, Config, refusal::Refusal};

/// The media type of a single answer.
pub(crate) const JSON: &str = "application/json";
/// The media type of a stream of answers.
pub(crate) const SSE: &str = "text/event-stream";

/// Most characters of a peer's text that an error repeats.
const MAX_EXCERPT: usize = 128;

/// The beginning of a peer's text, for an error.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(MAX_EXCERPT).collect()
}

/// A browser's page may call only when its origin is allowed (2026-07-28, streamable-http, "Security & Endpoint").
pub(crate) fn origin(config: &Config, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::ORIGIN) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    if headers.get_all(header::ORIGIN).iter().count() == 1 && origin_allowed(&config.allowed_origins, text) {
        return Ok(());
    }
    Err(denied("Origin", text))
}

fn origin_allowed(allowed: &[String], origin: &str) -> bool {
    allowed.iter().any(|entry| match entry.strip_suffix(":*") {
        None => entry.eq_ignore_ascii_case(origin),
        Some(host) => match origin.get(..host.len()) {
            Some(start) if start.eq_ignore_ascii_case(host) => is_port_or_nothing(&origin[host.len()..]),
            _ => false,
        },
    })
}

fn is_port_or_nothing(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

/// The name that the client used for us must be one of ours, or a page rebound to our address is calling.
pub(crate) fn host(config: &Config, parts: &Parts) -> Result<(), Refusal> {
    let mut values = parts.headers.get_all(header::HOST).iter();
    let text = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (None, None) => parts.uri.authority().map_or("", |authority| authority.as_str()),
        _ => "",
    };
    let allowed = config.allowed_hosts.iter().any(|entry| {
        entry == "*"
            || entry.eq_ignore_ascii_case(text)
            || text
                .get(..entry.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(entry) && is_port_or_nothing(&text[entry.len()..]))
    });
    if allowed { Ok(()) } else { Err(denied("Host", text)) }
}

fn denied(header: &str, value: &str) -> Refusal {
    let text = format!("{header} \"{}\" is not allowed here", excerpt(value));
    Refusal::new(StatusCode::FORBIDDEN, Error::new(ErrorKind::Denied, text))
}

/// The body must say that it is JSON.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if essence(value).eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let text = format!("Content-Type must be {JSON}, not \"{}\"", excerpt(value));
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Error::new(ErrorKind::InvalidRequest, text)))
}

/// Every needed media type must be accepted, since the server chooses per request. A wildcard accepts it, and so does
/// the absence of the header (RFC 9110, 12.5.1).
pub(crate) fn accept(headers: &HeaderMap, needed: &[&str]) -> Result<(), Refusal> {
    if !headers.contains_key(header::ACCEPT) {
        return Ok(());
    }
    let accepts = |media: &str| {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(essence).any(|range| {
            let family = range.strip_suffix("/*").filter(|family| *family != "*");
            range == "*/*"
                || range.eq_ignore_ascii_case(media)
                || family.is_some_and(|family| {
                    media.split_once('/').is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(family))
                })
        })
    };
    match needed.iter().find(|media| !accepts(media)) {
        None => Ok(()),
        Some(media) => {
            let text = format!("Accept must list {}; {media} is missing", needed.join(" and "));
            Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, Error::new(ErrorKind::InvalidRequest, text)))
        }
    }
}

/// True when the client names this media type itself; a wildcard does not.
pub(crate) fn names(headers: &HeaderMap, media: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(essence).any(|range| range.eq_ignore_ascii_case(media))
}

/// The media type without its parameters.
fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// Who calls. A header that cannot be read counts as wrong credentials, not as absent ones.
pub(crate) fn authenticate(auth: &dyn Authenticate, headers: &HeaderMap) -> Result<Principal, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| unreadable_credentials())?),
        (Some(_), Some(_)) => return Err(unreadable_credentials()),
    };
    auth.authenticate(authorization).map_err(Refusal::of)
}

fn unreadable_credentials() -> Refusal {
    Refusal::of(Error::new(ErrorKind::Unauthenticated, "Authorization must be one header of visible characters"))
}

/// The view must be there for the caller; one that it may not enter is as unknown as one that is not.
pub(crate) fn view(dispatch: &dyn Dispatch, caller: &Caller) -> Result<(), Refusal> {
    let unknown = caller.view.as_deref().filter(|view| !dispatch.has_view(&caller.principal, view));
    unknown.map_or(Ok(()), |view| {
        let error = Error::new(ErrorKind::InvalidRequest, format!("unknown view \"{}\"", excerpt(view)));
        Err(Refusal::new(StatusCode::NOT_FOUND, error))
    })
}

/// Reads a body within the limits of size and time.
pub(crate) async fn body(config: &Config, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let limit = config.max_body_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(config.body_read_timeout, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(limit)),
        Ok(Err(error)) => {
            let error = Error::new(ErrorKind::InvalidRequest, "request body broke off").with_private(error);
            Err(Refusal::closing(StatusCode::BAD_REQUEST, error))
        }
        Err(_) => {
            let text = format!("request body did not arrive within {:?}", config.body_read_timeout);
            Err(Refusal::closing(StatusCode::REQUEST_TIMEOUT, Error::new(ErrorKind::InvalidRequest, text)))
        }
    }
}

fn too_large(limit: usize) -> Refusal {
    let text = format!("request body is above the limit of {limit} bytes");
    Refusal::closing(StatusCode::PAYLOAD_TOO_LARGE, Error::new(ErrorKind::TooLarge, text))
}

#[cfg(test)]
mod tests;
