//! The span and the metrics around a call: begun before anything is decided, ended with the outcome or when the caller goes away.

use std::{borrow::Cow, sync::Arc};

use async_stream::stream;
use futures::StreamExt;
use memchr::memmem;
use spanwire_mcp::{Json, Method, Revision, input};
use spanwire_model::{Call, EdgeTransport, Event, Outcome, Reply};
use spanwire_telemetry::{CallLabels, InFlight, Span, SpanKind, error_type, names};
use tokio::time::Instant;

use crate::{Inner, Plan, Running, forward, listen, plan, relay};

/// Dispatches a call of an edge.
pub(crate) fn dispatch(inner: &Arc<Inner>, call: Call) -> Reply {
    let tracer = inner.telemetry.tracer();
    let mut span =
        tracer.start_with(SpanKind::Server, call.parent.as_ref(), || names::call_span(span_method(&call.method), None));
    describe_call(&mut span, &call);
    let mut observed = Observed {
        inner: inner.clone(),
        method: call.method.clone(),
        revision: call.client.revision,
        started: Instant::now(),
        tool: None,
        server: None,
        elsewhere: None,
        span: Some(span),
        running: None,
        gauge: Some(inner.telemetry.metrics().in_flight()),
    };
    // A listen stream lives as long as its client and has bounds of its own.
    if call.method != Method::Listen {
        match inner.enter() {
            Ok(running) => observed.running = Some(running),
            Err(error) => return observed.ready(Err(error)),
        }
    }
    let context = observed.span.as_ref().map(Span::context);
    let call = Call { parent: context, ..call };
    match plan::plan(inner, call) {
        Plan::Ready(outcome) => observed.ready(outcome),
        Plan::Forward(forward) => {
            observed.routed(&forward);
            observed.around(forward::forward(inner, *forward))
        }
        Plan::Listen(listen) => observed.around(listen::listen(inner, *listen)),
    }
}

/// Everything held for a call while it runs. Dropping it before the outcome means that the caller went away.
struct Observed {
    inner: Arc<Inner>,
    method: Method,
    revision: Revision,
    started: Instant,
    tool: Option<Arc<str>>,
    server: Option<spanwire_model::ServerId>,
    elsewhere: Option<forward::Elsewhere>,
    span: Option<Span>,
    /// Given back with the outcome, not when the client has read it.
    running: Option<Running>,
    gauge: Option<InFlight>,
}

impl Observed {
    fn ready(mut self, outcome: Outcome) -> Reply {
        self.finish(&outcome);
        Reply::ready(outcome)
    }

    fn around(mut self, mut reply: Reply) -> Reply {
        Reply::new(stream! {
            while let Some(event) = reply.next().await {
                if let Event::Done(outcome) = &event {
                    self.finish(outcome);
                }
                yield event;
            }
        })
    }

    fn routed(&mut self, forward: &forward::Forward) {
        let route = forward.permitted.route();
        self.server = Some(route.server.clone());
        self.elsewhere = Some(forward.elsewhere.clone());
        if self.method == Method::ToolsCall {
            self.tool = forward.exposed.clone();
        }
        let Some(span) = self.span.as_mut().filter(|span| span.is_recording()) else { return };
        span.set_text(names::SPANWIRE_SERVER, route.server.as_str());
        if forward.back.is_some() && self.method.takes_input() {
            span.set(names::SPANWIRE_INPUT, "brought");
        }
        describe_target(span, &self.method, forward.exposed.as_deref());
    }

    fn finish(&mut self, outcome: &Outcome) {
        drop((self.running.take(), self.gauge.take()));
        let Some(mut span) = self.span.take() else { return };
        let error = match outcome {
            Ok(result) if is_tool_error(&self.method, result) => {
                span.fail_tool();
                Some(Cow::Borrowed(names::ERROR_TYPE_TOOL))
            }
            Ok(_) => None,
            Err(error) => {
                span.fail(error);
                if let Some(private) = &error.private {
                    tracing::info!(trace_id = %span.context().trace_id_hex(), private, "call failed: {error}");
                }
                Some(error_type(error))
            }
        };
        if let (Ok(result), true) = (outcome, span.is_recording()) {
            span.set(names::SPANWIRE_RESULT_BYTES, i64::try_from(result.len()).unwrap_or(i64::MAX));
            if self.method.takes_input() && input::has_result_type(result, input::INPUT_REQUIRED) {
                span.set(names::SPANWIRE_INPUT, "required");
            }
        }
        let labels = CallLabels {
            method: self.method.as_str(),
            tool: self.tool.as_deref(),
            server: self.server.as_ref().map(|server| server.as_str()),
            error_type: error.as_deref(),
            revision: self.revision,
        };
        let context = span.context();
        let trace = context.sampled.then_some(&context);
        let (metrics, total) = (self.inner.telemetry.metrics(), self.started.elapsed());
        metrics.call_finished(labels, total, trace);
        if let (Some(elsewhere), Ok(_)) = (&self.elsewhere, outcome) {
            metrics.overhead(total.saturating_sub(elsewhere.total()));
        }
        span.end();
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            self.inner.telemetry.metrics().call_cancelled();
            span.end_cancelled();
        }
    }
}

/// Longest method that names a span. A longer one is made up by the caller.
const MAX_SPAN_METHOD: usize = 64;

/// The method as it stands in the name of a span; whole in an attribute.
pub(crate) fn span_method(method: &Method) -> &str {
    Some(method.as_str()).filter(|name| name.len() <= MAX_SPAN_METHOD).unwrap_or(names::OTHER)
}

/// What is known of a call before it is resolved.
fn describe_call(span: &mut Span, call: &Call) {
    if !span.is_recording() {
        return;
    }
    span.set_text(names::MCP_METHOD_NAME, call.method.as_str());
    span.set(names::MCP_PROTOCOL_VERSION, call.client.revision.as_str());
    span.set_text(names::SPANWIRE_PRINCIPAL, &call.principal.name);
    span.set_text(names::SPANWIRE_CALL_ID, &call.id.to_string());
    span.set(names::SPANWIRE_PARAMS_BYTES, i64::try_from(call.params.len()).unwrap_or(i64::MAX));
    span.set(names::SPANWIRE_ERA, if call.client.revision == Revision::CANONICAL { "modern" } else { "legacy" });
    let (edge, transport) = match call.client.transport {
        EdgeTransport::Http => ("http", "tcp"),
        EdgeTransport::Stdio => ("stdio", "pipe"),
        EdgeTransport::Grpc => ("grpc", "tcp"),
        EdgeTransport::Backbone => ("backbone", "tcp"),
    };
    span.set(names::SPANWIRE_EDGE, edge);
    span.set(names::NETWORK_TRANSPORT, transport);
    if let Some(view) = &call.view {
        span.set_text(names::SPANWIRE_VIEW, view);
    }
    if let Some(id) = &call.client.request_id {
        span.set_text(names::JSONRPC_REQUEST_ID, id);
    }
    if let Some(session) = &call.client.session_id {
        span.set_text(names::MCP_SESSION_ID, &relay::shown_session(session));
    }
    if let Some(address) = call.client.address {
        span.set_text(names::CLIENT_ADDRESS, &address.ip().to_string());
        span.set(names::CLIENT_PORT, i64::from(address.port()));
    }
}

/// What is called, once it is known: attributes and the name of the span.
pub(crate) fn describe_target(span: &mut Span, method: &Method, target: Option<&str>) {
    let Some(target) = target.filter(|_| span.is_recording()) else { return };
    match method {
        Method::ToolsCall => {
            span.set(names::GEN_AI_OPERATION_NAME, names::OPERATION_EXECUTE_TOOL);
            span.set_text(names::GEN_AI_TOOL_NAME, target);
            span.rename(|| names::call_span(method.as_str(), Some(target)));
        }
        Method::PromptsGet => {
            span.set_text(names::GEN_AI_PROMPT_NAME, target);
            span.rename(|| names::call_span(method.as_str(), Some(target)));
        }
        // A URI belongs into an attribute, not into the name: it has no bounds.
        Method::ResourcesRead => span.set_text(names::MCP_RESOURCE_URI, target),
        _ => {}
    }
}

/// True when a tool reported its own failure. The search is far cheaper than reading the result.
pub(crate) fn is_tool_error(method: &Method, result: &Json) -> bool {
    *method == Method::ToolsCall
        && memmem::find(result.as_bytes(), b"\"isError\"").is_some()
        && result.get("isError").is_some_and(|value| value.as_str() == "true")
}
