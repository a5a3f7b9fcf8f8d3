//! A call goes to the server of another node, over the backbone: one attempt.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use bytes::Bytes;
use futures::StreamExt;
use spanwire_mcp::{Limits, Message, Method, Notification, Request, RequestId};
use spanwire_model::{
    Address, BusReply, BusRequest, Call, Error, ErrorKind, Event, Frame, NodeId, Outcome, Reply, Result, Route,
    ServerId, TraceContext,
};
use spanwire_policy::Permitted;
use spanwire_telemetry::{Span, SpanKind, names};
use tokio::time::{Instant, timeout_at};

use crate::{
    Inner,
    execute::deadline,
    forward::Elsewhere,
    replica::{Sent, Standing},
    sealed,
};

/// The subject of calls to a node, as it stands in spans: a template without the parts that vary.
pub(crate) const CALL_TEMPLATE: &str = "sw.v1.{tenant}.node.{node}.{principal}.{server}.{method}.{name}";

/// What a request on the bus has beyond the budget of its call: the way back. The other node knows best what became of a call
/// whose time ran out there, so its error must not come too late.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// One attempt of a call.
pub(crate) struct Attempt {
    /// The node that gets it.
    pub(crate) node: NodeId,
    /// How far its replica is trusted.
    pub(crate) standing: Standing,
    /// Which attempt it is, from 1.
    pub(crate) number: u32,
    /// No other node can go on with the call.
    pub(crate) is_bound: bool,
}

/// Calls a server of another node. The reply says `Unavailable` or `Overloaded` only when that node has executed nothing.
pub(crate) fn remote(
    inner: &Arc<Inner>,
    permitted: &Permitted,
    attempt: Attempt,
    parent: &TraceContext,
    elsewhere: Elsewhere,
) -> Reply {
    let (call, route, parent) = (permitted.call().clone(), permitted.route().clone(), parent.clone());
    let inner = inner.clone();
    Reply::new(stream! {
        let deadline = deadline(&call, route.call_timeout);
        let budget = deadline.saturating_duration_since(Instant::now());
        let mut span = inner.telemetry.tracer().start_with(SpanKind::Producer, Some(&parent), || names::bus_span("publish", CALL_TEMPLATE));
        describe_bus(&mut span, &inner, "publish", "send", &route, &call);
        describe_attempt(&mut span, &attempt);
        let request = bus_request(&call, &route, budget, span.context());
        let (started, mut sent) = (Instant::now(), Sent::to(&inner, &route.server, &attempt.node, &call.method));
        let mut frames: BusReply = inner.backbone.request(Address::Node(attempt.node.clone()), request);
        let outcome = loop {
            let frame = timeout_at(deadline + GRACE, frames.next()).await;
            match frame {
                Ok(Some(Ok(Frame::Progress(payload)))) => match read_notification(&payload) {
                    Ok(notification) => {
                        sent.heard();
                        yield Event::Progress(notification);
                    }
                    Err(error) => break Err(error),
                },
                Ok(Some(Ok(Frame::Message(payload)))) => match read_notification(&payload) {
                    Ok(notification) => {
                        sent.heard();
                        yield Event::Notification(notification);
                    }
                    Err(error) => break Err(error),
                },
                Ok(Some(Ok(Frame::End { payload, elapsed }))) => {
                    let wire = started.elapsed().saturating_sub(elapsed);
                    span.set_ms(names::SPANWIRE_WIRE_MS, wire);
                    inner.telemetry.metrics().wire(wire);
                    break read_outcome(&payload);
                }
                Ok(Some(Err(error))) => break Err(lost_on_the_way(error, &attempt, &route.server, &call.method)),
                Ok(None) => break Err(Error::new(ErrorKind::StreamLost, format!("the reply of server \"{}\" broke off", route.server))),
                Err(_) => break Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("server \"{}\" did not answer {} within {} ms", route.server, call.method, budget.as_millis()),
                )),
            }
        };
        elsewhere.add(started.elapsed());
        if let Err(error) = &outcome {
            span.fail(error);
        }
        span.end();
        sent.ended(&outcome);
        drop(frames);
        yield Event::Done(outcome);
    })
}

/// A call that could only go on at one node, which is not there: what was begun there is lost with it. A task may be there still.
fn lost_on_the_way(error: Error, attempt: &Attempt, server: &ServerId, method: &Method) -> Error {
    if !attempt.is_bound || error.kind != ErrorKind::Unavailable {
        return error;
    }
    let node = &attempt.node;
    if method.takes_input() {
        let text = format!(
            "node \"{node}\", where this call waited for its input, is gone: send the request again without requestState"
        );
        return Error::new(ErrorKind::StreamLost, text).with_private(error);
    }
    sealed::not_there(server, node).with_private(error)
}

fn describe_attempt(span: &mut Span, attempt: &Attempt) {
    if !span.is_recording() {
        return;
    }
    span.set_text(names::SPANWIRE_REPLICA, attempt.node.as_str());
    span.set(names::SPANWIRE_ATTEMPT, i64::from(attempt.number));
    if let Some(standing) = attempt.standing.as_str() {
        span.set(names::SPANWIRE_STANDING, standing);
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
