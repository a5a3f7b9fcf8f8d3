//! Sessions in a cluster: a request for a session of another node goes there, and its answer comes back, piece by piece. So any node
//! serves any client, and a balancer need not be sticky.
//!
//! The id of a session is `{node}.{uuid}`, visible ASCII as 2025-11-25, basic/transports, "Session Management" wants it: the first part
//! says where the session lives, the second one is the secret. This node checks what needs no session (Origin, Host, media types,
//! credentials, view), and the session's node the rest.

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream},
    response::{IntoResponse, Response as HttpResponse},
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use spanwire_mcp::header as mcp_header;
use spanwire_model::{
    EraChoice, Error, ErrorKind, Exchange, ExchangePart, Exchanged, MAX_PIECE_BYTES, NodeId, Relay, Relayed, Result,
    TraceContext, Verb,
};
use uuid::Uuid;

use super::{Caller, Edge, agreement::single, gate, legacy, opening::unknown_session, post, refusal::Refusal, sse2024};

/// The other nodes.
pub struct Cluster {
    /// This node.
    pub node: NodeId,
    /// The way to the others.
    pub relay: Arc<dyn Relay>,
}

/// The header with which a client resumes a stream.
const LAST_EVENT_ID: &str = "last-event-id";

/// What a session looks at in a request, besides its own id.
const SENT: [&str; 2] = [mcp_header::PROTOCOL_VERSION, LAST_EVENT_ID];

/// What a client is told in an answer.
const RETURNED: [&str; 5] = ["content-type", "cache-control", "x-accel-buffering", "allow", "retry-after"];

/// What an answer may have beyond a body's limit: the envelope of the message.
const ENVELOPE_BYTES: usize = 64 * 1024;

/// A fresh id for a session of this node.
pub(crate) fn new_session_id(node: Option<&NodeId>) -> Arc<str> {
    let secret = Uuid::new_v4();
    match node {
        Some(node) => format!("{node}.{secret}").into(),
        None => secret.to_string().into(),
    }
}

/// The node that a session id names.
pub(crate) fn node_of(id: &str) -> Option<NodeId> {
    id.split_once('.')?.0.parse().ok()
}

/// The session of another node that a request names.
pub(crate) fn elsewhere(edge: &Edge, caller: &Caller) -> Result<Option<Elsewhere>, Refusal> {
    let Some(id) = single(&caller.headers, mcp_header::SESSION_ID, "Mcp-Session-Id")? else { return Ok(None) };
    Ok(Elsewhere::of(edge.cluster.as_ref().map(|cluster| &cluster.node), caller, id))
}

/// A session that is not of this node.
pub(crate) struct Elsewhere {
    node: NodeId,
    session: Arc<str>,
}

impl Elsewhere {
    /// The session with this id, unless it is of this node. What another node passed on stays here.
    pub(crate) fn of(here: Option<&NodeId>, caller: &Caller, id: &str) -> Option<Self> {
        let node = node_of(id).filter(|node| Some(node) != here && here.is_some() && caller.hop.is_none())?;
        Some(Self { node, session: id.into() })
    }

    /// Passes a request on and returns the answer. `answerable` is true when the body is a request, so that a failure can be its
    /// outcome; `parent` is the client's position in its trace.
    pub(crate) async fn ask(
        self,
        edge: &Edge,
        caller: &Caller,
        verb: Verb,
        body: Bytes,
        answerable: bool,
        parent: Option<TraceContext>,
    ) -> Result<HttpResponse, Refusal> {
        let Some(cluster) = &edge.cluster else { return Err(unknown_session()) };
        let value = |name: &str| Some((name.to_owned(), caller.headers.get(name)?.to_str().ok()?.to_owned()));
        let exchange = Exchange {
            id: Uuid::now_v7(),
            principal: caller.principal.clone(),
            view: caller.view.clone(),
            verb,
            session: self.session,
            headers: SENT.into_iter().filter_map(value).collect(),
            address: caller.address,
            parent,
            body,
        };
        let mut parts = cluster.relay.relay(&self.node, exchange);
        let (status, headers) = match parts.next().await {
            Some(Ok(ExchangePart::Head { status, headers })) => (status, headers),
            Some(Ok(ExchangePart::Body(_))) | None => return Err(refuse(headless(), answerable)),
            Some(Err(error)) => return Err(refuse(error, answerable)),
        };
        let body = if is_stream(&headers) {
            streamed(edge, verb, parts)
        } else {
            let limit = edge.config.max_body_bytes.saturating_add(ENVELOPE_BYTES);
            Body::from(whole(parts, limit).await.map_err(|error| refuse(error, answerable))?)
        };
        let mut response = HttpResponse::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        put(response.headers_mut(), headers, &RETURNED);
        Ok(response)
    }
}

fn headless() -> Error {
    Error::new(ErrorKind::StreamLost, "the session's node answered without a head")
}

/// No answer of the session's node, as the client is told. Where the client has asked nothing that could have an outcome, HTTP says it.
fn refuse(error: Error, answerable: bool) -> Refusal {
    match error.kind {
        ErrorKind::SessionGone => unknown_session(),
        ErrorKind::Unavailable => Refusal::try_again(error),
        _ if error.http_status() == StatusCode::OK.as_u16() && !answerable => {
            Refusal::new(StatusCode::BAD_GATEWAY, error)
        }
        _ => Refusal::of(error),
    }
}

fn is_stream(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, value)| name == header::CONTENT_TYPE.as_str() && value.starts_with(gate::SSE))
}

/// Headers by name, those that are wanted.
fn put(into: &mut HeaderMap, headers: Vec<(String, String)>, wanted: &[&str]) {
    for (name, value) in headers.into_iter().filter(|(name, _)| wanted.contains(&name.as_str())) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            into.insert(name, value);
        }
    }
}

/// An event stream as it comes. Where it breaks, the connection does: its end must not look like the stream's. Only the session's own
/// stream, which a client opens again, ends gracefully with this node.
fn streamed(edge: &Edge, verb: Verb, mut parts: Exchanged) -> Body {
    let shutdown = edge.config.shutdown.clone();
    let until = async move {
        match verb {
            Verb::Get => shutdown.cancelled_owned().await,
            Verb::Post | Verb::Delete | Verb::Message => std::future::pending().await,
        }
    };
    Body::from_stream(async_stream::stream! {
        let mut until = std::pin::pin!(until);
        loop {
            let part = tokio::select! {
                biased;
                part = parts.next() => part,
                () = &mut until => None,
            };
            match part {
                Some(Ok(ExchangePart::Body(piece))) => yield Ok(piece),
                Some(Ok(ExchangePart::Head { .. })) => {
                    yield Err(headless());
                    return;
                }
                Some(Err(error)) => {
                    tracing::debug!("a stream of another node's session broke off: {error}");
                    yield Err(error);
                    return;
                }
                None => return,
            }
        }
    })
}

/// A body that is a single message.
async fn whole(mut parts: Exchanged, limit: usize) -> Result<Bytes> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(part) = parts.next().await {
        let ExchangePart::Body(piece) = part? else { return Err(headless()) };
        if first.len() + all.len() + piece.len() > limit {
            let text = format!("the answer of the session's node is above {limit} bytes");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&piece);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The sessions of this node, for the others.
pub(crate) struct Sessions(pub(crate) Arc<Edge>);

impl Relayed for Sessions {
    fn serve(&self, exchange: Exchange) -> Exchanged {
        let edge = self.0.clone();
        async_stream::stream! {
            let answered = Box::pin(answer(edge, exchange)).await;
            let (head, body) = answered.unwrap_or_else(IntoResponse::into_response).into_parts();
            let value = |name: &str| Some((name.to_owned(), head.headers.get(name)?.to_str().ok()?.to_owned()));
            let headers = RETURNED.into_iter().filter_map(value).collect();
            yield Ok(ExchangePart::Head { status: head.status.as_u16(), headers });
            let mut pieces: BodyDataStream = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                let mut piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => {
                        yield Err(Error::new(ErrorKind::StreamLost, "the answer of the session broke off").with_private(error));
                        return;
                    }
                };
                while piece.len() > MAX_PIECE_BYTES {
                    yield Ok(ExchangePart::Body(piece.split_to(MAX_PIECE_BYTES)));
                }
                yield Ok(ExchangePart::Body(piece));
            }
        }
        .boxed()
    }
}

/// The same as for a client of this node, but that whatever is asked is for a session. The other node is believed who calls, and
/// nothing else.
async fn answer(edge: Arc<Edge>, exchange: Exchange) -> Result<HttpResponse, Refusal> {
    let mut headers = HeaderMap::new();
    put(&mut headers, exchange.headers, &SENT);
    let session = HeaderValue::try_from(&*exchange.session).map_err(|_| unknown_session())?;
    headers.insert(mcp_header::SESSION_ID, session);
    let caller = Caller {
        principal: exchange.principal,
        view: exchange.view,
        address: exchange.address,
        headers,
        era: EraChoice::Legacy,
        hop: Some(exchange.parent),
    };
    gate::view(&*edge.dispatch, &caller)?;
    match exchange.verb {
        Verb::Post => post::post(edge, caller, Body::from(exchange.body)).await,
        Verb::Message => sse2024::post(edge, caller, &exchange.session, Body::from(exchange.body)).await,
        Verb::Get => legacy::get(&edge, &caller),
        Verb::Delete => legacy::delete(&edge, &caller),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_names_its_node() {
        let node: NodeId = "left-1".parse().unwrap();
        let id = new_session_id(Some(&node));
        assert_eq!(node_of(&id), Some(node));
        assert!(id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{id}");
        assert_eq!(id.len(), "left-1.".len() + 36);
        assert_ne!(id, new_session_id(node_of(&id).as_ref()));
        for id in ["", "lost", ".x", "Left.x", &*new_session_id(None)] {
            assert_eq!(node_of(id), None, "{id}");
        }
    }
}
