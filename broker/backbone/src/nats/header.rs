//! Names of headers, and reading and writing them without a panic.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderValue};

/// The version of everything below. A message without it is not ours.
pub(super) const WIRE: &str = "Sw-Wire";
pub(super) const WIRE_VERSION: &str = "1";

pub(super) const TRACEPARENT: &str = "traceparent";
pub(super) const TRACESTATE: &str = "tracestate";

/// The call's id, a UUID.
pub(super) const CALL: &str = "Sw-Call";
/// What is left of the budget, in milliseconds.
pub(super) const BUDGET_MS: &str = "Sw-Budget-Ms";
/// The server that is meant.
pub(super) const SERVER: &str = "Sw-Server";
/// Frames and bytes that the caller lets be on the way: `64 1048576`.
pub(super) const WINDOW: &str = "Sw-Window";
/// Parts of a large request. The first one is in the first message.
pub(super) const PARTS: &str = "Sw-Parts";
/// Size and SHA-256 of something that came in parts: `5242880 6f0c…`.
pub(super) const WHOLE: &str = "Sw-Whole";
/// Names whose tokens are shortened, escaped like tokens.
pub(super) const PRINCIPAL: &str = "Sw-Principal";
pub(super) const METHOD: &str = "Sw-Method";
pub(super) const NAME: &str = "Sw-Name";
pub(super) const TOPIC_KIND: &str = "Sw-Kind";
pub(super) const TOPIC_ID: &str = "Sw-Id";
pub(super) const TOPIC_WHAT: &str = "Sw-What";

/// The kind of a frame of a reply.
pub(super) const FRAME: &str = "Sw-Frame";
/// Its number, or the last number when it has none itself.
pub(super) const SEQ: &str = "Sw-Seq";
/// The node that sent this.
pub(super) const NODE: &str = "Sw-Node";
/// How long that node had the request, in microseconds.
pub(super) const ELAPSED_US: &str = "Sw-Elapsed-Us";
/// The kind of an error.
pub(super) const ERROR: &str = "Sw-Error";
/// Parts of the request that have arrived.
pub(super) const GOT: &str = "Sw-Got";
/// Frames wait for credit.
pub(super) const STARVED: &str = "Sw-Starved";

/// What a control message asks for: `cancel`, `credit` or `part`.
pub(super) const CONTROL: &str = "Sw-Ctl";
/// Frames and bytes that the caller has taken so far: `32 4096`.
pub(super) const TAKEN: &str = "Sw-Taken";
/// The number of a part of a request.
pub(super) const PART: &str = "Sw-Part";

/// Headers with our version.
pub(super) fn new() -> HeaderMap {
    let mut headers = HeaderMap::new();
    put(&mut headers, WIRE, WIRE_VERSION);
    headers
}

/// Puts a header; a value with a line break in it is left out, since it cannot be sent.
pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        headers.insert(name, value);
    }
}

/// The first value of a header.
pub(super) fn get<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    headers.get(name).map(HeaderValue::as_str)
}

/// The value of a header, read.
pub(super) fn parse<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Option<T> {
    get(headers, name)?.parse().ok()
}

/// Two numbers in one header.
pub(super) fn pair(headers: &HeaderMap, name: &'static str) -> Option<(u64, u64)> {
    let (one, other) = get(headers, name)?.split_once(' ')?;
    Some((one.parse().ok()?, other.parse().ok()?))
}

/// True for headers of our version.
pub(super) fn is_ours(headers: &HeaderMap) -> bool {
    get(headers, WIRE) == Some(WIRE_VERSION)
}
