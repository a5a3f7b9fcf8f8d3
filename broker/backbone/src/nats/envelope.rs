//! A request as a message: subject and headers, which must agree.

use std::{sync::Arc, time::Duration};

use async_nats::HeaderMap;
use bytes::Bytes;
use spanwire_model::{Address, BusRequest, ServerId, TraceContext};

use super::{
    header,
    parts::Whole,
    subject::{self, Subjects, Token},
    window::Amount,
};

/// Longest name that is carried beside the payload, in bytes. What is longer is in the payload only.
const MAX_NAME: usize = 4096;

/// A request as it was read.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) request: BusRequest,
    /// What the caller lets be on the way.
    pub(super) window: Amount,
    /// Set when the payload is only the first of several parts.
    pub(super) announced: Option<Announced>,
}

/// A large request, of which the first part is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announced {
    pub(super) parts: u32,
    pub(super) whole: Whole,
}

/// The headers of a request.
pub(super) fn encode(
    to: &Address,
    request: &BusRequest,
    left: Duration,
    window: Amount,
    announced: Option<&Announced>,
) -> HeaderMap {
    let mut headers = header::new();
    header::put(&mut headers, header::CALL, request.call_id.to_string());
    // At least one: a budget that is used up is not sent at all.
    header::put(&mut headers, header::BUDGET_MS, left.as_millis().max(1).to_string());
    header::put(&mut headers, header::WINDOW, format!("{} {}", window.frames, window.bytes));
    if let Some(server) = server_of(to, request) {
        header::put(&mut headers, header::SERVER, server.as_str());
    }
    put_long(&mut headers, header::PRINCIPAL, &request.principal);
    put_long(&mut headers, header::METHOD, &request.method);
    if let Some(name) = &request.name {
        put_long(&mut headers, header::NAME, name);
    }
    if let Some(trace) = &request.trace {
        header::put(&mut headers, header::TRACEPARENT, trace.traceparent());
        if let Some(state) = &trace.tracestate {
            header::put(&mut headers, header::TRACESTATE, state);
        }
    }
    if let Some(announced) = announced {
        header::put(&mut headers, header::PARTS, announced.parts.to_string());
        header::put(&mut headers, header::WHOLE, announced.whole.to_string());
    }
    headers
}

/// The server that a request is for.
pub(super) fn server_of<'a>(to: &'a Address, request: &'a BusRequest) -> Option<&'a ServerId> {
    match to {
        Address::Server(server) => Some(server),
        Address::Node(_) => request.server.as_ref(),
    }
}

/// Adds a header for a text whose token is shortened.
pub(super) fn put_long(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if text.len() <= MAX_NAME && subject::read(&subject::token(text)) == Some(Token::Shortened) {
        header::put(headers, name, subject::escape(text));
    }
}

/// The text of a token, with the help of its header when it is shortened. `Err` when the two disagree.
pub(super) fn read_long(headers: &HeaderMap, name: &'static str, token: &str) -> Result<Option<String>, String> {
    let disagree = || format!("{name} and the subject disagree");
    let in_header = match header::get(headers, name) {
        Some(escaped) => Some(subject::unescape(escaped).ok_or_else(disagree)?),
        None => None,
    };
    if in_header.as_ref().is_some_and(|text| subject::token(text) != token) {
        return Err(disagree());
    }
    match subject::read(token) {
        Some(Token::Text(text)) => Ok(Some(text)),
        Some(Token::Absent) => Ok(None),
        Some(Token::Shortened) => Ok(in_header),
        None => Err(disagree()),
    }
}

/// Reads a request. `Err` says what is wrong with it.
pub(super) fn decode(
    subjects: &Subjects,
    subject: &str,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<Envelope, String> {
    if !header::is_ours(headers) {
        return Err(format!("{} is not {}", header::WIRE, header::WIRE_VERSION));
    }
    let tokens = subjects.read_request(subject).ok_or("the subject is not that of a request")?;
    let [principal, server, method, name] = tokens;
    let missing = |name: &str| format!("{name} is missing or wrong");
    let (frames, bytes) = header::pair(headers, header::WINDOW).ok_or_else(|| missing(header::WINDOW))?;
    let budget_ms = header::parse(headers, header::BUDGET_MS).ok_or_else(|| missing(header::BUDGET_MS))?;
    let request = BusRequest {
        call_id: header::parse(headers, header::CALL).ok_or_else(|| missing(header::CALL))?,
        principal: required(headers, header::PRINCIPAL, principal)?,
        server: read_server(headers, server)?,
        method: required(headers, header::METHOD, method)?,
        name: read_long(headers, header::NAME, name)?.map(Into::into),
        budget: Duration::from_millis(budget_ms),
        trace: read_trace(headers),
        payload,
    };
    let announced = match (header::get(headers, header::PARTS), header::get(headers, header::WHOLE)) {
        (None, None) => None,
        (Some(parts), Some(whole)) => {
            let parts = parts.parse().ok().filter(|parts| *parts > 1).ok_or_else(|| missing(header::PARTS))?;
            Some(Announced { parts, whole: whole.parse().map_err(|()| missing(header::WHOLE))? })
        }
        (None, Some(_)) => return Err(missing(header::PARTS)),
        (Some(_), None) => return Err(missing(header::WHOLE)),
    };
    Ok(Envelope { request, window: Amount { frames, bytes }, announced })
}

fn required(headers: &HeaderMap, name: &'static str, token: &str) -> Result<Arc<str>, String> {
    let text = read_long(headers, name, token)?.ok_or_else(|| format!("{name} is missing"))?;
    Ok(text.into())
}

fn read_server(headers: &HeaderMap, token: &str) -> Result<Option<ServerId>, String> {
    let in_subject = if token == subject::optional(None) { None } else { Some(token) };
    if header::get(headers, header::SERVER) != in_subject {
        return Err(format!("{} and the subject disagree", header::SERVER));
    }
    in_subject.map(str::parse).transpose().map_err(|_| format!("{} is not a server id", header::SERVER))
}

fn read_trace(headers: &HeaderMap) -> Option<TraceContext> {
    let traceparent = header::get(headers, header::TRACEPARENT)?;
    TraceContext::parse(traceparent, header::get(headers, header::TRACESTATE)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use spanwire_model::Tenant;
    use uuid::Uuid;

    use super::*;

    const WINDOW: Amount = Amount { frames: 64, bytes: 1 << 20 };

    fn subjects() -> Subjects {
        Subjects::new("sw.v1", &Tenant::default(), "a".parse().unwrap(), "c".into())
    }

    fn request() -> BusRequest {
        BusRequest {
            call_id: Uuid::now_v7(),
            principal: "anna".into(),
            server: Some("fs".parse().unwrap()),
            method: "tools/call".into(),
            name: Some("x".repeat(300).into()),
            budget: Duration::from_secs(9),
            trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=b")).ok(),
            payload: "{}".into(),
        }
    }

    #[test]
    fn requests_come_back() {
        let announced = Announced { parts: 3, whole: Whole::of(b"x") };
        for to in [Address::Server("fs".parse().unwrap()), Address::Node("b".parse().unwrap())] {
            let sent = request();
            let headers = encode(&to, &sent, Duration::from_millis(1500), WINDOW, Some(&announced));
            let subject = subjects().request(&to, &sent);
            let got = decode(&subjects(), &subject, &headers, sent.payload.clone()).unwrap();
            assert_eq!(got.announced.as_ref(), Some(&announced));
            assert_eq!((got.window, got.request.budget), (WINDOW, Duration::from_millis(1500)));
            let expected = BusRequest { budget: got.request.budget, ..sent };
            assert_eq!(format!("{:?}", got.request), format!("{expected:?}"));
        }
    }

    #[test]
    fn names_beyond_measure_are_in_the_payload_only() {
        let to = Address::Server("fs".parse().unwrap());
        let sent = BusRequest { name: Some("x".repeat(MAX_NAME + 1).into()), ..request() };
        let headers = encode(&to, &sent, sent.budget, WINDOW, None);
        let got = decode(&subjects(), &subjects().request(&to, &sent), &headers, Bytes::new()).unwrap();
        assert_eq!(got.request.name, None);
    }

    #[test]
    fn what_disagrees_is_refused() {
        let to = Address::Server("fs".parse().unwrap());
        let sent = request();
        let (subject, headers) = (subjects().request(&to, &sent), encode(&to, &sent, sent.budget, WINDOW, None));
        let check = |subject: &str, change: Option<(&'static str, &str)>| {
            let mut headers = headers.clone();
            if let Some((name, value)) = change {
                header::put(&mut headers, name, value);
            }
            decode(&subjects(), subject, &headers, Bytes::new()).is_ok()
        };
        assert!(check(&subject, None));
        for change in [
            (header::WIRE, "2"),
            (header::CALL, "x"),
            (header::BUDGET_MS, "-1"),
            (header::WINDOW, "64"),
            (header::SERVER, "git"),
            (header::PRINCIPAL, "eve"),
            (header::METHOD, "tools=2Flist"),
            (header::NAME, "other"),
            (header::NAME, "=ZZ"),
            (header::PARTS, "2"),
        ] {
            assert!(!check(&subject, Some(change)), "{change:?}");
        }
        assert!(!check(&subject.replace(".fs.", ".git."), None));
        assert!(!check(&subject.replace("==", "==0"), None));
        assert!(!check("sw.v1.default.call.anna.fs.m", None));
    }
}
