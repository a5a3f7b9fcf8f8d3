//! Sessions of legacy clients in a cluster: one HTTP exchange between the node that has the client's connection and the node that
//! has the session.
//!
//! An edge sees other nodes as [`Relay`], and is seen by them as [`Relayed`].

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::{NodeId, Principal, Result, TraceContext};

/// What a client does with its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Posts messages.
    Post,
    /// Posts messages in the manner of 2024-11-05: the answer says only that they were taken. The session is the id of its stream.
    Message,
    /// Opens the session's stream, which lasts.
    Get,
    /// Ends the session.
    Delete,
}

/// One request of a client to a session of another node. The node that has the connection has checked everything that needs no
/// session; the session's node checks principal and view again.
#[derive(Clone)]
pub struct Exchange {
    /// UUIDv7, the same on both nodes.
    pub id: Uuid,
    /// Who calls.
    pub principal: Principal,
    /// The view; `None` is the federated one.
    pub view: Option<Arc<str>>,
    /// What is asked.
    pub verb: Verb,
    /// The session's id.
    pub session: Arc<str>,
    /// The request's headers that a session looks at, by lower-case name.
    pub headers: Vec<(String, String)>,
    /// The client's address.
    pub address: Option<SocketAddr>,
    /// The caller's position in its trace; on the session's node that of the hop.
    pub parent: Option<TraceContext>,
    /// The body: JSON, or empty.
    pub body: Bytes,
}

/// A part of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangePart {
    /// The beginning of the response.
    Head {
        /// The HTTP status.
        status: u16,
        /// The headers that matter, by lower-case name.
        headers: Vec<(String, String)>,
    },
    /// Some bytes of the body, in order.
    Body(Bytes),
}

/// The answer to an [`Exchange`]: one [`ExchangePart::Head`], then the body as it is made. The end of the stream is the end of the body;
/// an error says that there is no answer, or that the body broke off, and is last. Dropping it drops the response on the session's node.
pub type Exchanged = BoxStream<'static, Result<ExchangePart>>;

/// The other nodes, as an edge sees them.
///
/// Laws: returns at once, the work is done when the answer is polled; an error before the head is `SessionGone` when there is no such
/// node, `Unavailable` when this node reaches no other one at the moment, `Overloaded` at the limit of exchanges in flight, `TooLarge`
/// when the request is too large to be relayed, and any other kind when it is not known what became of the request; nothing is retried.
pub trait Relay: Send + Sync + 'static {
    /// Sends an exchange to the node that has the session.
    fn relay(&self, to: &NodeId, exchange: Exchange) -> Exchanged;
}

/// An edge, as other nodes see it.
///
/// Laws: returns at once; a session that is not here, or belongs to another principal or view, is answered with 404 and never relayed
/// further; pieces of the body are no larger than [`MAX_PIECE_BYTES`].
pub trait Relayed: Send + Sync + 'static {
    /// Serves an exchange of a session of this node.
    fn serve(&self, exchange: Exchange) -> Exchanged;
}

/// Largest piece of a body between nodes, so that a large one travels under credit.
pub const MAX_PIECE_BYTES: usize = 256 * 1024;
