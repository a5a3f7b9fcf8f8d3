//! Spans: started, filled, and handed over once when they end.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use spanwire_mcp::codes;
use spanwire_model::{Error, ErrorKind, Origin, TraceContext};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    SpanKind, SpanLink, SpanRecord, Value,
    id::{self, Ratio},
    metrics::{Metrics, SpanResult},
    names,
    record::cut,
    ring::Ring,
};

/// Starts spans. A cheap handle.
#[derive(Debug, Clone)]
pub struct Tracer {
    inner: Arc<Inner>,
}

/// One piece of work in a trace. It ends once: by [`Span::end`], or by being dropped, which means that the work was
/// cancelled. Nothing here waits or fails.
#[derive(Debug)]
#[must_use = "a span that is dropped at once is recorded as cancelled"]
pub struct Span {
    context: TraceContext,
    live: Option<Box<Live>>,
}

#[derive(Debug)]
struct Inner {
    ratio: Ratio,
    respect_parent: bool,
    sink: Sink,
}

/// Where ended spans go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// To the task.
    Queue(Intake),
    /// Straight into the ring, for telemetry without a task.
    Ring { ring: Arc<Ring>, node: String },
}

/// The way into the queue. What does not fit is dropped and counted.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    pub(crate) queue: mpsc::Sender<SpanRecord>,
    pub(crate) metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Live {
    record: SpanRecord,
    started: Instant,
    tracer: Tracer,
}

impl Tracer {
    pub(crate) fn new(ratio: f64, respect_parent: bool, sink: Sink) -> Self {
        Self { inner: Arc::new(Inner { ratio: Ratio::new(ratio), respect_parent, sink }) }
    }

    /// Starts a span below `parent`, or a new trace without one. The parent of a SERVER or CONSUMER span counts as
    /// remote, and that of any other kind as local.
    pub fn start(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>, parent: Option<&TraceContext>) -> Span {
        self.start_with(kind, parent, || name.into())
    }

    /// The same with a name that is built only when the span is recorded.
    pub fn start_with(
        &self,
        kind: SpanKind,
        parent: Option<&TraceContext>,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Span {
        let trace_id = parent.map_or_else(id::trace_id, |parent| parent.trace_id);
        let context = TraceContext {
            trace_id,
            span_id: id::span_id(),
            sampled: self.samples(kind, trace_id, parent),
            tracestate: parent.and_then(|parent| parent.tracestate.clone()),
        };
        let live = context.sampled.then(|| Box::new(self.record(kind, &context, parent, name())));
        Span { context, live }
    }

    /// Head sampling. A CONSUMER's parent is another node, whose decision stands.
    fn samples(&self, kind: SpanKind, trace_id: u128, parent: Option<&TraceContext>) -> bool {
        match parent {
            Some(parent) if kind != SpanKind::Server || self.inner.respect_parent => parent.sampled,
            Some(_) | None => self.inner.ratio.takes(trace_id),
        }
    }

    fn record(
        &self,
        kind: SpanKind,
        context: &TraceContext,
        parent: Option<&TraceContext>,
        name: Cow<'static, str>,
    ) -> Live {
        let record = SpanRecord {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent_span_id: parent.map(|parent| parent.span_id),
            remote_parent: parent.is_some() && kind.has_remote_parent(),
            name,
            kind,
            start_unix_nanos: unix_nanos(SystemTime::now()),
            end_unix_nanos: 0,
            attributes: Vec::with_capacity(ATTRIBUTES),
            links: Vec::new(),
            error: None,
            // The task knows it; an allocation less on the call's path.
            node: String::new(),
            tracestate: context.tracestate.clone(),
        };
        Live { record, started: Instant::now(), tracer: self.clone() }
    }
}

/// What most spans of a call have.
const ATTRIBUTES: usize = 16;

impl Intake {
    /// Never waits.
    pub(crate) fn push(&self, record: SpanRecord) {
        self.metrics.span_queued();
        let result = match self.queue.try_send(record) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => SpanResult::DroppedQueue,
            Err(TrySendError::Closed(_)) => SpanResult::LostAtShutdown,
        };
        self.metrics.span_unqueued(1);
        self.metrics.spans_done(result, 1);
    }
}

impl Sink {
    fn push(&self, mut record: SpanRecord) {
        match self {
            Self::Queue(intake) => intake.push(record),
            Self::Ring { ring, node } => {
                record.node.clone_from(node);
                ring.push(Arc::new(record));
            }
        }
    }
}

impl Span {
    /// What the next hop is sent; valid whether or not the span is recorded.
    pub fn context(&self) -> TraceContext {
        self.context.clone()
    }

    /// True when what is set here is kept.
    pub fn is_recording(&self) -> bool {
        self.live.is_some()
    }

    /// Gives it another name, once the target of the work is known.
    pub fn rename(&mut self, name: impl FnOnce() -> Cow<'static, str>) {
        if let Some(live) = &mut self.live {
            live.record.name = name();
        }
    }

    /// Sets an attribute; the last value of a key stays.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(live) = &mut self.live {
            live.record.set(key, value.into());
        }
    }

    /// Sets a text, copied only when the span is recorded.
    pub fn set_text(&mut self, key: &'static str, text: &str) {
        if let Some(live) = &mut self.live {
            live.record.set(key, text.to_owned().into());
        }
    }

    /// Sets a duration in milliseconds.
    pub fn set_ms(&mut self, key: &'static str, duration: std::time::Duration) {
        self.set(key, duration.as_secs_f64() * 1000.0);
    }

    /// Links another span, such as that of the transport below.
    pub fn link(&mut self, other: &TraceContext) {
        if let Some(live) = &mut self.live
            && live.record.links.len() < SpanRecord::MAX_LINKS
        {
            live.record.links.push(SpanLink { trace_id: other.trace_id, span_id: other.span_id });
        }
    }

    /// Records that the work failed: `error.type`, the JSON-RPC code, and the status. A SERVER span keeps its status
    /// when the fault is the caller's (semantic conventions for MCP, "Server").
    pub fn fail(&mut self, error: &Error) {
        let Some(live) = &mut self.live else { return };
        let record = &mut live.record;
        let code = error.json_rpc_code();
        record.set(names::ERROR_TYPE, error_type(error).into());
        if error.kind != ErrorKind::Cancelled {
            record.set(names::RPC_RESPONSE_STATUS_CODE, code.to_string().into());
        }
        let fault_of_caller = error.origin() == Origin::Client || codes::is_caller_fault(code);
        if record.kind != SpanKind::Server || !fault_of_caller {
            record.error = Some(cut(error.public.clone()).into_owned());
        }
    }

    /// Records that the tool answered with `isError` (semantic conventions for MCP, `error.type`).
    pub fn fail_tool(&mut self) {
        if let Some(live) = &mut self.live {
            live.record.set(names::ERROR_TYPE, names::ERROR_TYPE_TOOL.into());
            live.record.error = Some("tool returned an error".into());
        }
    }

    /// Ends it.
    pub fn end(mut self) {
        self.finish();
    }

    /// Ends it as cancelled: the same as dropping it, said aloud.
    pub fn end_cancelled(self) {}

    fn finish(&mut self) {
        let Some(live) = self.live.take() else { return };
        let Live { mut record, started, tracer } = *live;
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        record.end_unix_nanos = record.start_unix_nanos.saturating_add(elapsed);
        tracer.inner.sink.push(record);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.live.is_some() {
            self.fail(&Error::new(ErrorKind::Cancelled, "cancelled"));
            self.finish();
        }
    }
}

/// The `error.type` of a failure, for spans and metrics: the code when a server answered with it, otherwise the name
/// of the kind.
pub fn error_type(error: &Error) -> Cow<'static, str> {
    if error.kind == ErrorKind::Server { error.json_rpc_code().to_string().into() } else { error.kind_name().into() }
}

/// Nanoseconds of the Unix epoch; 0 for a clock before it.
pub(crate) fn unix_nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
