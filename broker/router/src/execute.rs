//! The last hop: a call goes to a server of this node.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures::StreamExt;
use spanwire_mcp::Method;
use spanwire_model::{Call, Error, ErrorKind, Event, Outcome, Reply, Result, TraceContext, UpstreamCall};
use spanwire_policy::Permitted;
use spanwire_registry::{Attached, Slot};
use spanwire_telemetry::{CallLabels, Span, SpanKind, error_type, names};
use tokio::time::{Instant, timeout_at};

use crate::{
    Inner,
    forward::{Elsewhere, not_connected},
    observe::{describe_target, is_tool_error, span_method},
    sealed::Opened,
};

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
        let slot = match slot(&attached, &call, parked, deadline).await {
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

/// Waits for the right to call the server, where the call needs one.
async fn slot(attached: &Attached, call: &Call, parked: bool, deadline: Instant) -> Result<Option<Slot>> {
    // A listen stream would hold a slot for ever. A parked call goes on with one that is running; those that wait for that one's end may
    // have every slot.
    if call.method == Method::Listen || parked {
        return attached.may_run().map(|()| None);
    }
    match timeout_at(deadline, attached.slot(&call.principal.name)).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(slot)) if Instant::now() < deadline => Ok(Some(slot)),
        // A slot that comes with the deadline is too late: the server would be asked for nothing.
        Ok(Ok(_)) | Err(_) => Err(attached.no_slot_in_time()),
    }
}

/// When a call ends at the latest. The limit of a server is for its answers; a listen stream has none.
pub(crate) fn deadline(call: &Call, limit: Option<Duration>) -> Instant {
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
