//! Ephemeral messaging between nodes.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::{NodeId, Result, ServerId, TraceContext};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Any node that serves the server: exactly one of them gets the request.
    Server(ServerId),
    /// One node.
    Node(NodeId),
}

/// What a node serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServeOn {
    /// Requests to a server that is attached here, shared with its other replicas.
    Server(ServerId),
    /// Requests to this node.
    Node,
}

/// A request on the backbone. The payload is a JSON-RPC request; what else the other node needs is beside it.
#[derive(Debug, Clone)]
pub struct BusRequest {
    /// The call, the same on every hop.
    pub call_id: Uuid,
    /// The name of the principal.
    pub principal: Arc<str>,
    /// The server that is meant. Present too when the address is a node.
    pub server: Option<ServerId>,
    /// The JSON-RPC method, for the subject.
    pub method: Arc<str>,
    /// The tool, prompt or URI as the server knows it, for the subject.
    pub name: Option<Arc<str>>,
    /// What is left of the call's budget. The receiver counts down from here.
    pub budget: Duration,
    /// Trace context of the publishing span.
    pub trace: Option<TraceContext>,
    /// The JSON-RPC request.
    pub payload: Bytes,
}

/// One numbered part of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Only the latest one matters: may be merged with a later one when the caller is slow.
    Progress(Bytes),
    /// A message that must arrive.
    Message(Bytes),
    /// The JSON-RPC response. Exactly one, and last.
    End {
        /// The response.
        payload: Bytes,
        /// How long the other node had the request.
        elapsed: Duration,
    },
}

/// Frames in order, without a gap, ended by [`Frame::End`] or by one error. Dropping it cancels the request.
pub type BusReply = BoxStream<'static, Result<Frame>>;

/// Answers requests from the backbone.
///
/// Law: `handle` returns at once; the stream ends with [`Frame::End`]; it is dropped when the caller cancels or is gone.
/// `elapsed` of the handler's own `End` is ignored: the backbone fills it in.
pub trait BusHandler: Send + Sync + 'static {
    /// Takes a request.
    fn handle(&self, request: BusRequest) -> BoxStream<'static, Frame>;
}

/// The subject of an event: `evt.{kind}.{id}.{what}`. Each token is escaped by the implementation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// `node`, `server`, …
    pub kind: String,
    /// Which one.
    pub id: String,
    /// What happened.
    pub what: String,
}

/// Something published to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The topic.
    pub topic: Topic,
    /// The node that published it.
    pub from: NodeId,
    /// The message.
    pub payload: Bytes,
}

/// What reached a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusMessage {
    /// A publication.
    Publication(Publication),
    /// Publications may have been missed: the connection was down or the subscriber too slow. Ask anew for state.
    Gap,
}

/// Stops serving when it is dropped. Requests that are running go on.
pub struct ServeGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl ServeGuard {
    /// A guard that runs a function once.
    pub fn new(stop: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(stop)))
    }
}

impl Drop for ServeGuard {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop();
        }
    }
}

impl fmt::Debug for ServeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServeGuard")
    }
}

/// Ephemeral messaging between nodes: in memory, or over NATS. Both pass one contract suite.
///
/// Laws:
/// - a request reaches exactly one server of its address, or none; none is known at once: `Unavailable`;
/// - a reply is complete and in order, or ends with an error: `StreamLost` for a gap, for silence past the keep-alive, and for a
///   payload whose digest is wrong; `DeadlineExceeded` when the budget is used up; `TooLarge` above the size limit;
/// - a slow caller slows the handler down (a window of credit); progress frames are merged meanwhile, others wait;
/// - dropping a reply drops the handler's stream on the other side; so does the death of the calling node, a keep-alive later;
/// - nothing is retried;
/// - publications are delivered at most once to each subscriber, in order per publisher; a possible hole is a [`BusMessage::Gap`].
#[async_trait]
pub trait Backbone: Send + Sync + 'static {
    /// Sends a request. Returns at once; the work is done when the reply is polled.
    fn request(&self, to: Address, request: BusRequest) -> BusReply;

    /// Serves requests until the guard is dropped. Returns when requests can arrive.
    async fn serve(&self, on: ServeOn, handler: Arc<dyn BusHandler>) -> Result<ServeGuard>;

    /// Publishes to a topic.
    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<()>;

    /// Receives what is published to topics of this kind by any node, this one included. Returns when publications can arrive.
    async fn subscribe(&self, kind: &str) -> Result<BoxStream<'static, BusMessage>>;

    /// Messages are delivered between nodes at the moment.
    fn is_connected(&self) -> bool;

    /// A word for people: `memory`, or the NATS server's address without credentials.
    fn describe(&self) -> String;

    /// Facts for metrics: calls waiting for a reply and calls being handled. Both are zero when nothing runs.
    fn in_flight(&self) -> BTreeMap<&'static str, u64>;

    /// Sends what is buffered, and ends.
    async fn close(&self);
}
