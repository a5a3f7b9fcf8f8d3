//! One request inside the broker, and the broker as an edge sees it.

use std::sync::Arc;

use spanwire_mcp::{Json, Method, Revision, mirror::Mirrored};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Principal, Reply, TraceContext};

/// One request inside the broker, in the canonical revision.
#[derive(Debug, Clone)]
pub struct Call {
    /// UUIDv7, the same on every node that the call visits.
    pub id: Uuid,
    /// Who calls.
    pub principal: Principal,
    /// The view that the call came through; `None` is the federated one.
    pub view: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// The params as the caller sent them, with the caller's names and URIs; always an object.
    pub params: Json,
    /// When the call's budget is used up.
    pub deadline: Instant,
    /// The caller's position in its trace; `None` starts a new one.
    pub parent: Option<TraceContext>,
    /// What the edge knows of the client, for spans.
    pub client: ClientFacts,
}

/// What an edge knows of a client, for spans and logs; never for decisions on access.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// The revision that the client speaks at the edge.
    pub revision: Revision,
    /// How it is connected.
    pub transport: EdgeTransport,
    /// Its address, where it has one.
    pub address: Option<std::net::SocketAddr>,
    /// The client's id of the request, as text.
    pub request_id: Option<String>,
    /// The session of a legacy client.
    pub session_id: Option<Arc<str>>,
}

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EdgeTransport {
    /// Streamable HTTP.
    Http,
    /// Lines on stdin and stdout.
    Stdio,
    /// The control API.
    Grpc,
    /// Another node, over the backbone.
    Backbone,
}

impl ClientFacts {
    /// A client of an edge about which nothing more is known.
    pub fn of(transport: EdgeTransport, revision: Revision) -> Self {
        Self { revision, transport, address: None, request_id: None, session_id: None }
    }
}

/// The broker as an edge sees it.
///
/// Laws: `dispatch` returns at once and does its work when the reply is polled; dropping the reply cancels the call;
/// every reply ends by the call's deadline; errors are outcomes of the reply and never panics. The trace context in
/// `params._meta` has already been read into `Call::parent` by the edge; the callee receives the broker's own.
pub trait Dispatch: Send + Sync + 'static {
    /// Takes a call.
    fn dispatch(&self, call: Call) -> Reply;

    /// True when a view of this name exists and the principal may enter it: one that it may not is as unknown as one that is not.
    fn has_view(&self, principal: &Principal, view: &str) -> bool;

    /// The arguments that a tool of a view wants repeated in HTTP headers, for an edge that has headers to compare; `None` for
    /// nearly every tool, and for one that the principal may not use. Cheap: called for each modern `tools/call` over HTTP.
    fn mirrored(&self, principal: &Principal, view: Option<&str>, tool: &str) -> Option<Arc<[Mirrored]>> {
        let _ = (principal, view, tool);
        None
    }
}
