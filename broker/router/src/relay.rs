//! Sessions of other nodes: an edge's exchange goes to the node that has the session, and comes from there, piece by piece.
//!
//! On the bus an exchange is a request `spanwire/session` to the node; the first frame of the reply is the head, each further one a piece
//! of the body as it is, and the last one says whether the body is whole. How they are written stands in [`form`].

mod form;

use std::sync::{Arc, OnceLock, Weak};

use async_stream::stream;
use futures::{StreamExt, stream::BoxStream};
use spanwire_mcp::RequestId;
use spanwire_model::{
    Address, BusRequest, Error, ErrorKind, Exchange, ExchangePart, Exchanged, Frame, NodeId, Relay, Relayed, Result,
    Verb,
};
use spanwire_telemetry::{Span, SpanKind, names};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{Inner, Router, listen, serve::end_frame};

/// The method with which a node passes an exchange of a session on. It never leaves the backbone.
pub(crate) const SESSION_METHOD: &str = "spanwire/session";

/// The subject of what goes to one node, as it stands in spans: a template without the parts that vary.
const NODE_TEMPLATE: &str = "sw.v1.{tenant}.node.{node}.{principal}.{server}.{method}.{name}";

/// Exchanges in flight, in each direction, that end with their answer.
pub const MAX_RELAYED_REQUESTS: usize = 1024;
/// Streams of sessions that are open, in each direction. They last, so they have places of their own.
pub const MAX_RELAYED_STREAMS: usize = 1024;

/// What the router keeps for sessions of other nodes.
pub(crate) struct Relaying {
    /// Who serves the sessions of this node.
    edge: OnceLock<Weak<dyn Relayed>>,
    sent: Places,
    received: Places,
}

/// Places for exchanges in one direction.
struct Places {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl Default for Relaying {
    fn default() -> Self {
        Self { edge: OnceLock::new(), sent: Places::new(), received: Places::new() }
    }
}

impl Places {
    fn new() -> Self {
        let places = |max| Arc::new(Semaphore::new(max));
        Self { requests: places(MAX_RELAYED_REQUESTS), streams: places(MAX_RELAYED_STREAMS) }
    }

    fn take(&self, verb: Verb) -> Result<OwnedSemaphorePermit> {
        let (places, what, max) = match verb {
            Verb::Get => (&self.streams, "streams", MAX_RELAYED_STREAMS),
            Verb::Post | Verb::Message | Verb::Delete => (&self.requests, "requests", MAX_RELAYED_REQUESTS),
        };
        places.clone().try_acquire_owned().map_err(|_| {
            let text = format!("too many {what} for sessions of other nodes: the limit is {max}");
            Error::new(ErrorKind::Overloaded, text)
        })
    }
}

impl Router {
    /// Says who serves the sessions of this node. It is held weakly; once it is gone, its sessions are too. Only the first call counts.
    pub fn serve_sessions(&self, edge: &Arc<dyn Relayed>) {
        let _ = self.0.relaying.edge.set(Arc::downgrade(edge));
    }
}

impl Relay for Router {
    fn relay(&self, to: &NodeId, exchange: Exchange) -> Exchanged {
        let (inner, to) = (self.0.clone(), to.clone());
        stream! {
            // A node that reaches nobody cannot say that another one is gone.
            if !inner.backbone.is_connected() {
                yield Err(cut_off());
                return;
            }
            let _place = match inner.relaying.sent.take(exchange.verb) {
                Ok(place) => place,
                Err(error) => {
                    inner.telemetry.metrics().call_rejected("overloaded");
                    yield Err(error);
                    return;
                }
            };
            let tracer = inner.telemetry.tracer();
            let parent = exchange.parent.as_ref();
            let mut span = tracer.start_with(SpanKind::Producer, parent, || names::bus_span("publish", NODE_TEMPLATE));
            describe(&mut span, &inner, "publish", "send", &exchange);
            let started = Instant::now();
            let mut frames = inner.backbone.request(Address::Node(to.clone()), bus_request(&exchange, &span));
            let mut begun = false;
            let outcome = loop {
                match frames.next().await {
                    Some(Ok(Frame::Message(payload) | Frame::Progress(payload))) if begun => yield Ok(ExchangePart::Body(payload)),
                    Some(Ok(Frame::Message(payload) | Frame::Progress(payload))) => match form::read_head(&payload) {
                        Ok(head) => {
                            begun = true;
                            yield Ok(head);
                        }
                        Err(error) => break Err(error),
                    },
                    Some(Ok(Frame::End { payload, elapsed })) => break form::read_end(&payload, begun).map(|()| elapsed),
                    Some(Err(error)) => break Err(failed(&inner, &to, begun, error)),
                    None => break Err(broke_off(&to)),
                }
            };
            drop(frames);
            match outcome {
                Ok(elapsed) => {
                    span.set_ms(names::SPANWIRE_WIRE_MS, started.elapsed().saturating_sub(elapsed));
                    span.end();
                }
                Err(error) => {
                    span.fail(&error);
                    span.end();
                    yield Err(error);
                }
            }
        }
        .boxed()
    }
}

fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "this node does not reach the node of the session at the moment: try again")
}

fn broke_off(to: &NodeId) -> Error {
    Error::new(ErrorKind::StreamLost, format!("the answer of node \"{to}\", which has the session, broke off"))
}

/// What the bus says, as an edge has to understand it: nobody there means that the session is gone with its node. A node that is not given up
/// yet has perhaps only lost its connection, and its sessions go on.
fn failed(inner: &Inner, to: &NodeId, begun: bool, error: Error) -> Error {
    match error.kind {
        ErrorKind::Unavailable if begun => broke_off(to).with_private(error),
        ErrorKind::Unavailable if inner.backbone.is_connected() && !is_known(inner, to) => {
            Error::new(ErrorKind::SessionGone, format!("node \"{to}\", which had the session, is gone"))
        }
        ErrorKind::Unavailable => cut_off().with_private(error),
        _ => error,
    }
}

fn is_known(inner: &Inner, node: &NodeId) -> bool {
    // A node that was just started knows nobody yet.
    inner.registry.may_lack_others() || inner.registry.inventory().nodes.iter().any(|info| info.id == *node)
}

fn bus_request(exchange: &Exchange, span: &Span) -> BusRequest {
    BusRequest {
        call_id: exchange.id,
        principal: exchange.principal.name.clone(),
        server: None,
        method: SESSION_METHOD.into(),
        name: None,
        // What bounds an exchange is on the session's node; the bus notices a node that falls silent.
        budget: listen::FOR_EVER,
        trace: Some(span.context()),
        payload: form::write(exchange, SESSION_METHOD),
    }
}

/// Serves an exchange that another node passed on.
pub(crate) fn serve(inner: &Arc<Inner>, request: &BusRequest) -> BoxStream<'static, Frame> {
    let id = RequestId::String(request.call_id.to_string().into());
    let parent = request.trace.as_ref();
    let tracer = inner.telemetry.tracer();
    let mut span = tracer.start_with(SpanKind::Consumer, parent, || names::bus_span("process", NODE_TEMPLATE));
    if let Some(parent) = parent {
        span.link(parent);
    }
    let opened = form::read(request, span.context()).and_then(|exchange| {
        describe(&mut span, inner, "process", "process", &exchange);
        let place = inner.relaying.received.take(exchange.verb)?;
        let edge = inner.relaying.edge.get().and_then(Weak::upgrade);
        let edge = edge.ok_or_else(|| Error::new(ErrorKind::SessionGone, "no sessions are served on this node"))?;
        Ok((edge.serve(exchange), place))
    });
    stream! {
        let outcome = match opened {
            Err(error) => Err(error),
            Ok((mut parts, _place)) => loop {
                match parts.next().await {
                    Some(Ok(ExchangePart::Head { status, headers })) => yield Frame::Message(form::write_head(status, &headers)),
                    Some(Ok(ExchangePart::Body(piece))) if piece.is_empty() => {}
                    Some(Ok(ExchangePart::Body(piece))) => yield Frame::Message(piece),
                    Some(Err(error)) => break Err(error),
                    None => break Ok(form::whole()),
                }
            },
        };
        if let Err(error) = &outcome {
            span.fail(error);
        }
        span.end();
        yield end_frame(&id, outcome);
    }
    .boxed()
}

/// Attributes of a span on either side of the bus (semantic conventions for messaging).
fn describe(span: &mut Span, inner: &Inner, operation: &'static str, kind: &'static str, exchange: &Exchange) {
    if !span.is_recording() {
        return;
    }
    span.set(names::MESSAGING_SYSTEM, inner.messaging_system);
    span.set(names::MESSAGING_OPERATION_NAME, operation);
    span.set(names::MESSAGING_OPERATION_TYPE, kind);
    span.set(names::MESSAGING_DESTINATION_TEMPLATE, NODE_TEMPLATE);
    span.set_text(names::MESSAGING_MESSAGE_CONVERSATION_ID, &exchange.id.to_string());
    span.set_text(names::SPANWIRE_PRINCIPAL, &exchange.principal.name);
    span.set_text(names::MCP_SESSION_ID, &shown_session(&exchange.session));
}

/// A session's id as spans may show it: whoever has the whole of it can use the session.
pub(crate) fn shown_session(id: &str) -> String {
    const SHOWN: usize = 8;
    let (node, secret) = id.split_once('.').map_or(("", id), |(node, secret)| (node, secret));
    let shown: String = secret.chars().take(SHOWN).collect();
    if node.is_empty() { format!("{shown}…") } else { format!("{node}.{shown}…") }
}
