//! What a request carries besides its body.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use spanwire_era::upstream::WireRequest;
use spanwire_mcp::{Era, Revision, header as mcp};
use spanwire_model::TraceContext;

/// The target's headers; the name of the first one that is none.
pub(super) fn of_target(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let bad = || name.clone();
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, value))
        })
        .collect()
}

/// The headers of a POST. `target` are the server's own; the protocol's win.
pub(super) fn of_post(target: &HeaderMap, revision: Option<Revision>, session: Option<&HeaderValue>) -> HeaderMap {
    let mut all = target.clone();
    all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    all.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    add_connection(&mut all, revision, session);
    all
}

/// The headers of the GET that opens a legacy session's stream, or of the DELETE that ends the session.
pub(super) fn of_session(target: &HeaderMap, revision: Option<Revision>, session: Option<&HeaderValue>) -> HeaderMap {
    let mut all = target.clone();
    all.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    add_connection(&mut all, revision, session);
    all
}

fn add_connection(all: &mut HeaderMap, revision: Option<Revision>, session: Option<&HeaderValue>) {
    if let Some(revision) = revision {
        all.insert(mcp::PROTOCOL_VERSION, HeaderValue::from_static(revision.as_str()));
    }
    if let Some(session) = session {
        all.insert(mcp::SESSION_ID, session.clone());
    }
}

/// Adds what mirrors the body of a request (2026-07-28, basic/transports/streamable-http, "Standard Request Headers").
pub(super) fn mirror(all: &mut HeaderMap, request: &WireRequest) {
    if let Some(trace) = &request.trace {
        add_trace(all, trace);
    }
    if request.revision.era() == Era::Legacy {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(request.method.as_str()) {
        all.insert(mcp::METHOD, value);
    }
    let name = request.method.name_member().and_then(|member| request.params.get(member)?.read::<String>().ok());
    if let Some(Ok(value)) = name.map(|name| HeaderValue::from_str(&mcp::encode_name(&name))) {
        all.insert(mcp::NAME, value);
    }
}

fn add_trace(all: &mut HeaderMap, trace: &TraceContext) {
    if let Ok(value) = HeaderValue::from_str(&trace.traceparent()) {
        all.insert("traceparent", value);
    }
    if let Some(Ok(value)) = trace.tracestate.as_deref().map(HeaderValue::from_str) {
        all.insert("tracestate", value);
    }
}
