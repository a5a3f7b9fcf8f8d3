//! Traces between the contract and what the node holds.

use std::time::Duration;

use serde_json::Value;
use spanwire_rpc::v1;

use crate::{SpanKind, SpanRecord, Trace, TraceFilter, TraceSummary};

/// How many traces are listed when the caller does not say.
const DEFAULT_LIMIT: u32 = 50;
/// How many traces are listed at most.
const MAX_LIMIT: u32 = 1000;

/// The number of traces that a limit stands for.
pub(super) fn limit(asked: u32) -> usize {
    let limit = if asked == 0 { DEFAULT_LIMIT } else { asked.min(MAX_LIMIT) };
    limit as usize
}

/// The filter that the conditions of a request stand for.
pub(super) fn filter(text: String, errors_only: bool, min_duration_ms: u64) -> TraceFilter {
    TraceFilter {
        text: Some(text).filter(|text| !text.is_empty()),
        errors_only,
        min_duration: Duration::from_millis(min_duration_ms),
    }
}

/// One trace in one line.
pub(super) fn summary(trace: TraceSummary) -> v1::TraceSummary {
    v1::TraceSummary {
        trace_id: format!("{:032x}", trace.trace_id),
        name: trace.name,
        start_unix_nanos: trace.start_unix_nanos,
        end_unix_nanos: trace.end_unix_nanos,
        spans: trace.spans,
        errors: trace.errors,
        error: trace.error.unwrap_or_default(),
        nodes: trace.nodes,
        servers: trace.servers,
    }
}

/// One trace with its spans.
pub(super) fn whole(trace: Trace) -> v1::GetTraceResponse {
    v1::GetTraceResponse { summary: Some(summary(trace.summary)), spans: trace.spans.into_iter().map(span).collect() }
}

fn span(span: SpanRecord) -> v1::Span {
    let kind = match span.kind {
        SpanKind::Internal => v1::SpanKind::Internal,
        SpanKind::Server => v1::SpanKind::Server,
        SpanKind::Client => v1::SpanKind::Client,
        SpanKind::Producer => v1::SpanKind::Producer,
        SpanKind::Consumer => v1::SpanKind::Consumer,
    };
    v1::Span {
        trace_id: format!("{:032x}", span.trace_id),
        span_id: format!("{:016x}", span.span_id),
        parent_span_id: span.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_unix_nanos: span.start_unix_nanos,
        end_unix_nanos: span.end_unix_nanos,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        failed: span.error.is_some(),
        error: span.error.unwrap_or_default(),
        node: span.node,
    }
}

fn attribute((key, value): (String, Value)) -> v1::KeyValue {
    let value_json = value.to_string();
    let text = match value {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value_json.clone(),
    };
    v1::KeyValue { key, value: text, value_json: value_json.into() }
}
