//! Sends a permitted call to its server: directly when it is attached here, over the backbone when it is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_stream::stream;
use bytes::Bytes;
use futures::StreamExt;
use spanwire_catalog::expose_uris;
use spanwire_mcp::{Limits, Message, Method, Notification, Request, RequestId};
use spanwire_model::{
    Address, BusReply, BusRequest, Call, Error, ErrorKind, Event, Frame, NodeId, Outcome, Place, Reply, Result, Route,
    ServerId, TraceContext, UpstreamCall,
};
use spanwire_policy::Permitted;
use spanwire_registry::{Attached, Slot};
use spanwire_telemetry::{CallLabels, Span, SpanKind, error_type, names};
use tokio::time::{Instant, timeout_at};

use crate::{
    Inner,
    observe::{describe_target, is_tool_error, span_method},
    sealed::{self, Opened},
};

/// The subject of calls, as it stands in spans: a template without the parts that vary.
pub(crate) const CALL_TEMPLATE: &str = "sw.v1.{tenant}.call.{principal}.{server}.{method}.{name}";

/// What a request on the bus has beyond the budget of its call: the way back. The other node knows best what became of a call
/// whose time ran out there, so its error must not come too late.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// A call that may be forwarded.
pub(crate) struct Forward {
    pub(crate) permitted: Permitted,
    /// The name that the caller used, for spans.
    pub(crate) exposed: Option<Arc<str>>,
    /// URIs in what comes back become exposed ones.
    pub(crate) rewrite_uris: bool,
    /// What the call brings back to where it began.
    pub(crate) back: Option<Back>,
    /// Where the time goes that is not the broker's own.
    pub(crate) elsewhere: Elsewhere,
}

/// A sealed text that a call brings back, and where that leads.
pub(crate) struct Back {
    /// The text.
    pub(crate) text: Arc<str>,
    /// Where the call goes, in place of its route's own.
    pub(crate) place: Place,
    /// The one node that can go on with it.
    pub(crate) node: Option<NodeId>,
}

/// Time of a call that was spent waiting for a slot, on the wire or in the server. What is left of the whole is what the broker added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elsewhere(Arc<AtomicU64>);

impl Elsewhere {
    fn add(&self, spent: Duration) {
        self.0.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Sends a call to its server, under a span of its own for the decision.
pub(crate) fn forward(inner: &Arc<Inner>, forward: Forward) -> Reply {
    let Forward { permitted, rewrite_uris, back, elsewhere, .. } = forward;
    let (call, route) = (permitted.call(), permitted.route());
    let (method, server) = (call.method.clone(), route.server.clone());
    let mut span = inner.telemetry.tracer().start(SpanKind::Internal, "route", call.parent.as_ref());
    let target = back.as_ref().map_or(&route.place, |back| &back.place);
    let place = match target {
        Place::Local => "local",
        Place::Remote(_) => "backbone",
        Place::Nowhere => "nowhere",
    };
    if span.is_recording() {
        span.set_text(names::SPANWIRE_SERVER, server.as_str());
        span.set(names::SPANWIRE_ROUTE, place);
    }
    let context = span.context();
    let mut reply = match target {
        Place::Local => {
            let brought = back.as_ref().map(|back| &*back.text);
            sealed::local(inner, &permitted, brought, context, elsewhere)
        }
        Place::Remote(_) => {
            let to = match back.as_ref().and_then(|back| back.node.clone()) {
                Some(node) => Address::Node(node),
                None => Address::Server(server.clone()),
            };
            remote(inner, &permitted, to, context, elsewhere)
        }
        Place::Nowhere => Reply::ready(Err(not_connected(route))),
    };
    Reply::new(stream! {
        while let Some(event) = reply.next().await {
            match event {
                Event::Done(outcome) => {
                    if let Err(error) = &outcome {
                        span.fail(error);
                    }
                    span.end();
                    yield Event::Done(if rewrite_uris { expose(&method, &server, outcome) } else { outcome });
                    return;
                }
                event => yield event,
            }
        }
    })
}

/// An outcome with the server's own URIs as this node exposes them, also the one of a resource that is not there.
fn expose(method: &Method, server: &ServerId, outcome: Outcome) -> Outcome {
    match outcome {
        Ok(result) => Ok(expose_uris(method, server, &result)),
        Err(mut error) => {
            error.data = error.data.map(|data| expose_uris(&Method::ResourceUpdated, server, &data));
            Err(error)
        }
    }
}

pub(crate) fn not_connected(route: &Route) -> Error {
    Error::new(ErrorKind::Unavailable, format!("server \"{}\" is not connected at the moment", route.server))
}

/// Calls a server of this node, with what was opened in place of what the call brought. The bus is not touched.
pub(crate) fn execute(
    inner: &Arc<Inner>,
    permitted: &Permitted,
    opened: Option<Opened>,
    parent: TraceContext,
    elsewhere: Elsewhere,
) -> Reply {
    let (mut call, route) = (permitted.call().clone(), permitted.route());
    let (mut link, mut parked) = (None, false);
    if let Some(opened) = opened {
        (call.params, link, parked) = (opened.params, opened.link, opened.parked);
    }
    let Some(attached) = inner.registry.attached(&route.server) else { return Reply::ready(Err(not_connected(route))) };
    let inner = inner.clone();
    let target = route.own_name().cloned();
    let deadline = deadline(&call, attached.call_timeout);
    Reply::new(stream! {
        let queued = Instant::now();
        // A listen stream would hold a slot for ever.
        let slot: Result<Option<Slot>> = match call.method {
            Method::Listen => Ok(None),
            // Goes on with a call that is running; those that wait for that one's end may have every slot.
            _ if parked => Ok(None),
            _ => match timeout_at(deadline, attached.slot(&call.principal.name)).await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(slot)) if Instant::now() < deadline => Ok(Some(slot)),
                // A slot that comes with the deadline is too late: the server would be asked for nothing.
                Ok(Ok(_)) | Err(_) => Err(attached.no_slot_in_time()),
            },
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(error) => {
                inner.telemetry.metrics().call_rejected("server_busy");
                yield Event::Done(Err(error));
                return;
            }
        };
        let waited = queued.elapsed();
        inner.telemetry.metrics().wait(attached.id.as_str(), waited);
        let mut hop = Hop::start(&inner, &call, &attached, target.as_ref(), waited, &parent);
        if let Some(first) = &link {
            // The call that asked for the input which this one brings.
            hop.span.link(first);
        }
        let mut reply = attached.upstream.call(UpstreamCall {
            call_id: call.id,
            principal: call.principal.name.clone(),
            method: call.method.clone(),
            params: call.params.clone(),
            deadline,
            trace: Some(hop.span.context()),
        });
        loop {
            match timeout_at(deadline, reply.next()).await {
                Ok(Some(Event::Done(outcome))) => {
                    elsewhere.add(waited + hop.started.elapsed());
                    hop.finish(&outcome);
                    // What was held for the call is given back with its outcome, not when the caller has read it.
                    drop((reply, slot));
                    yield Event::Done(outcome);
                    return;
                }
                Ok(Some(event)) => yield event,
                Ok(None) => return,
                Err(_) => {
                    // Dropping the reply tells the server.
                    drop((reply, slot));
                    let waited = hop.started.elapsed().as_millis();
                    let text = format!("server \"{}\" did not answer {} within {waited} ms", attached.id, call.method);
                    let outcome = Err(Error::new(ErrorKind::DeadlineExceeded, text));
                    hop.finish(&outcome);
                    yield Event::Done(outcome);
                    return;
                }
            }
        }
    })
}

/// When a call ends at the latest. The limit of a server is for its answers; a listen stream has none.
fn deadline(call: &Call, limit: Option<Duration>) -> Instant {
    match (&call.method, limit.and_then(|limit| Instant::now().checked_add(limit))) {
        (Method::Listen, _) | (_, None) => call.deadline,
        (_, Some(limit)) => call.deadline.min(limit),
    }
}

/// The server edge of one call: its span and metrics. Dropped before its outcome, its span says that the call was cancelled.
struct Hop {
    inner: Arc<Inner>,
    attached: Arc<Attached>,
    span: Span,
    method: Method,
    tool: Option<Arc<str>>,
    started: Instant,
}

impl Hop {
    fn start(
        inner: &Arc<Inner>,
        call: &Call,
        attached: &Arc<Attached>,
        target: Option<&Arc<str>>,
        waited: Duration,
        parent: &TraceContext,
    ) -> Self {
        let tracer = inner.telemetry.tracer();
        let method = &call.method;
        let mut span =
            tracer.start_with(SpanKind::Client, Some(parent), || names::call_span(span_method(method), None));
        if span.is_recording() {
            span.set_text(names::MCP_METHOD_NAME, method.as_str());
            span.set_text(names::SPANWIRE_SERVER, attached.id.as_str());
            span.set_ms(names::SPANWIRE_WAIT_MS, waited);
            span.set(names::MCP_PROTOCOL_VERSION, attached.facts.revision.as_str());
            span.set_text(names::SPANWIRE_ERA, &attached.facts.era().to_string());
            span.set(names::NETWORK_TRANSPORT, if &*attached.transport == "stdio" { "pipe" } else { "tcp" });
            describe_target(&mut span, method, target.map(|target| &**target));
        }
        let tool = target.filter(|_| *method == Method::ToolsCall).cloned();
        let (inner, attached) = (inner.clone(), attached.clone());
        Self { inner, attached, span, method: method.clone(), tool, started: Instant::now() }
    }

    fn finish(mut self, outcome: &Outcome) {
        let executed = self.started.elapsed();
        self.span.set_ms(names::SPANWIRE_EXECUTE_MS, executed);
        let error = match outcome {
            Ok(result) if is_tool_error(&self.method, result) => {
                self.span.fail_tool();
                Some(names::ERROR_TYPE_TOOL.into())
            }
            Ok(_) => None,
            Err(error) => {
                self.span.fail(error);
                Some(error_type(error))
            }
        };
        let labels = CallLabels {
            method: self.method.as_str(),
            tool: self.tool.as_deref(),
            server: Some(self.attached.id.as_str()),
            error_type: error.as_deref(),
            revision: self.attached.facts.revision,
        };
        let context = self.span.context();
        self.inner.telemetry.metrics().upstream_finished(labels, executed, context.sampled.then_some(&context));
        self.span.end();
    }
}

/// Calls a server of another node.
fn remote(inner: &Arc<Inner>, permitted: &Permitted, to: Address, parent: TraceContext, elsewhere: Elsewhere) -> Reply {
    let (call, route) = (permitted.call().clone(), permitted.route().clone());
    let inner = inner.clone();
    Reply::new(stream! {
        let deadline = deadline(&call, route.call_timeout);
        let budget = deadline.saturating_duration_since(Instant::now());
        let mut span = inner.telemetry.tracer().start_with(SpanKind::Producer, Some(&parent), || names::bus_span("publish", CALL_TEMPLATE));
        describe_bus(&mut span, &inner, "publish", "send", &route, &call);
        let request = bus_request(&call, &route, budget, span.context());
        let started = Instant::now();
        let mut frames: BusReply = inner.backbone.request(to.clone(), request);
        let outcome = loop {
            match timeout_at(deadline + GRACE, frames.next()).await {
                Ok(Some(Ok(Frame::Progress(payload)))) => {
                    if let Ok(notification) = read_notification(&payload) {
                        yield Event::Progress(notification);
                    }
                }
                Ok(Some(Ok(Frame::Message(payload)))) => match read_notification(&payload) {
                    Ok(notification) => yield Event::Notification(notification),
                    Err(error) => break Err(error),
                },
                Ok(Some(Ok(Frame::End { payload, elapsed }))) => {
                    elsewhere.add(started.elapsed());
                    let wire = started.elapsed().saturating_sub(elapsed);
                    span.set_ms(names::SPANWIRE_WIRE_MS, wire);
                    inner.telemetry.metrics().wire(wire);
                    break read_outcome(&payload);
                }
                Ok(Some(Err(error))) => break Err(lost_on_the_way(error, &to, &call.method)),
                Ok(None) => break Err(Error::new(ErrorKind::StreamLost, format!("the reply of server \"{}\" broke off", route.server))),
                Err(_) => break Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("server \"{}\" did not answer {} within {} ms", route.server, call.method, budget.as_millis()),
                )),
            }
        };
        if let Err(error) = &outcome {
            span.fail(error);
        }
        span.end();
        drop(frames);
        yield Event::Done(outcome);
    })
}

/// A call that could only go on at one node, which is not there: what was begun there is lost with it.
fn lost_on_the_way(error: Error, to: &Address, method: &Method) -> Error {
    match to {
        Address::Node(node) if error.kind == ErrorKind::Unavailable && method.takes_input() => {
            let text = format!(
                "node \"{node}\", where this call waited for its input, is gone: send the request again without requestState"
            );
            Error::new(ErrorKind::StreamLost, text).with_private(error)
        }
        Address::Node(_) | Address::Server(_) => error,
    }
}

fn bus_request(call: &Call, route: &Route, budget: Duration, trace: TraceContext) -> BusRequest {
    let id = RequestId::String(call.id.to_string().into());
    let request = Request { id, method: call.method.clone(), params: Some(call.params.clone()) };
    BusRequest {
        call_id: call.id,
        principal: call.principal.name.clone(),
        server: Some(route.server.clone()),
        method: call.method.as_str().into(),
        name: route.own_name().cloned(),
        budget: budget.saturating_add(GRACE),
        trace: Some(trace),
        payload: request.to_bytes(),
    }
}

/// Attributes of a span on either side of the bus (semantic conventions for messaging).
pub(crate) fn describe_bus(
    span: &mut Span,
    inner: &Inner,
    operation: &'static str,
    kind: &'static str,
    route: &Route,
    call: &Call,
) {
    if !span.is_recording() {
        return;
    }
    span.set(names::MESSAGING_SYSTEM, inner.messaging_system);
    span.set(names::MESSAGING_OPERATION_NAME, operation);
    span.set(names::MESSAGING_OPERATION_TYPE, kind);
    span.set(names::MESSAGING_DESTINATION_TEMPLATE, CALL_TEMPLATE);
    span.set_text(names::MESSAGING_CONSUMER_GROUP_NAME, route.server.as_str());
    span.set_text(names::MESSAGING_MESSAGE_CONVERSATION_ID, &call.id.to_string());
    span.set_text(names::SPANWIRE_SERVER, route.server.as_str());
}

fn read_notification(payload: &Bytes) -> Result<Notification> {
    match Message::parse_single(payload, &Limits::default())? {
        Message::Notification(notification) => Ok(notification),
        Message::Request(_) | Message::Response(_) => {
            Err(Error::new(ErrorKind::StreamLost, "another node sent something else than a notification"))
        }
    }
}

fn read_outcome(payload: &Bytes) -> Outcome {
    // The other node's limit was the server's; ours must not refuse what a few bytes of envelope add.
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    match Message::parse_single(payload, &limits)? {
        Message::Response(response) => response.outcome.map_err(Error::from_bus_object),
        Message::Request(_) | Message::Notification(_) => {
            Err(Error::new(ErrorKind::StreamLost, "another node ended a reply with something else than a response"))
        }
    }
}
