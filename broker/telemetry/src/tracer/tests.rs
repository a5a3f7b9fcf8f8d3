#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn queue(ratio: f64, respect_parent: bool, capacity: usize) -> (Tracer, mpsc::Receiver<SpanRecord>, Arc<Metrics>) {
    let (queue, records) = mpsc::channel(capacity);
    let metrics = Arc::new(Metrics::new(10));
    let sink = Sink::Queue(Intake { queue, metrics: Arc::clone(&metrics) });
    (Tracer::new(ratio, respect_parent, sink), records, metrics)
}

fn parent(sampled: bool) -> TraceContext {
    TraceContext { trace_id: u128::MAX, span_id: 9, sampled, tracestate: Some("v=1".into()) }
}

#[test]
fn who_decides_on_sampling() {
    let check = |ratio, respect_parent, kind, flag: Option<bool>, expected| {
        let (tracer, _records, _) = queue(ratio, respect_parent, 4);
        let span = tracer.start(kind, "x", flag.map(parent).as_ref());
        assert_eq!(span.is_recording(), expected, "{ratio} {respect_parent} {kind:?} {flag:?}");
        assert_eq!(span.context().sampled, expected);
        span.end();
    };
    use SpanKind::{Client, Consumer, Internal, Server};
    check(0.0, true, Server, None, false);
    check(1.0, true, Server, None, true);
    check(0.0, true, Server, Some(true), true);
    check(1.0, true, Server, Some(false), false);
    check(0.0, false, Server, Some(true), false);
    check(1.0, false, Server, Some(false), true);
    for kind in [Client, Consumer, Internal] {
        check(1.0, false, kind, Some(false), false);
        check(0.0, false, kind, Some(true), true);
    }
}

#[test]
fn an_unsampled_span_propagates_and_is_not_recorded() {
    let (tracer, mut records, metrics) = queue(1.0, true, 4);
    let mut span = tracer.start_with(SpanKind::Server, Some(&parent(false)), || panic!("no name is built"));
    span.rename(|| panic!("no name is built"));
    span.set(names::SPANWIRE_NODE, "n");
    span.fail_tool();
    let context = span.context();
    assert_eq!((context.trace_id, context.sampled, context.tracestate.as_deref()), (u128::MAX, false, Some("v=1")));
    assert!(context.span_id != 0 && context.span_id != 9);
    let child = tracer.start(SpanKind::Client, "x", Some(&context));
    assert_eq!((child.context().trace_id, child.is_recording()), (u128::MAX, false));
    drop(child);
    span.end();
    assert!(records.try_recv().is_err());
    assert_eq!(metrics.spans(SpanResult::DroppedQueue), 0);
}

#[test]
fn a_recorded_span_is_handed_over_once() {
    let (tracer, mut records, _) = queue(1.0, true, 4);
    let mut span = tracer.start(SpanKind::Server, "tools/call", Some(&parent(true)));
    span.rename(|| "tools/call x".into());
    span.set(names::GEN_AI_TOOL_NAME, "x");
    span.set_text(names::SPANWIRE_NODE, "n");
    span.link(&parent(true));
    let context = span.context();
    span.end();
    let record = records.try_recv().unwrap();
    assert!(records.try_recv().is_err());
    assert_eq!((record.trace_id, record.span_id), (context.trace_id, context.span_id));
    assert_eq!((record.parent_span_id, record.remote_parent), (Some(9), true));
    assert_eq!((record.name.as_ref(), record.error.as_deref()), ("tools/call x", None));
    assert_eq!(record.attribute(names::GEN_AI_TOOL_NAME), Some(&"x".into()));
    assert_eq!(record.links, [SpanLink { trace_id: u128::MAX, span_id: 9 }]);
    assert!(record.end_unix_nanos >= record.start_unix_nanos && record.start_unix_nanos > 1_600_000_000_000_000_000);
    let local = tracer.start(SpanKind::Client, "x", Some(&context));
    local.end();
    assert!(!records.try_recv().unwrap().remote_parent);
}

#[test]
fn a_dropped_span_was_cancelled() {
    let (tracer, mut records, _) = queue(1.0, true, 4);
    drop(tracer.start(SpanKind::Client, "x", None));
    tracer.start(SpanKind::Server, "x", None).end_cancelled();
    for error in [Some("cancelled"), None] {
        let record = records.try_recv().unwrap();
        assert_eq!(record.attribute(names::ERROR_TYPE), Some(&"cancelled".into()));
        assert_eq!(record.attribute(names::RPC_RESPONSE_STATUS_CODE), None);
        assert_eq!(record.error.as_deref(), error);
    }
}

#[test]
fn status_by_kind_of_error() {
    let server = |code| {
        let error = spanwire_mcp::ErrorObject { code, message: "m".into(), data: None };
        Error::from_server(error)
    };
    let broker = |kind| Error::new(kind, "m");
    // error, error.type, code, whether a SERVER span has the status "error"; a CLIENT span always has
    let table = [
        (server(-32700), "-32700", "-32700", false),
        (server(-32600), "-32600", "-32600", false),
        (server(-32601), "-32601", "-32601", false),
        (server(-32602), "-32602", "-32602", false),
        (server(-32002), "-32002", "-32002", false),
        (server(-32603), "-32603", "-32603", true),
        (server(-1), "-1", "-1", true),
        (broker(ErrorKind::Malformed), "malformed", "-32700", false),
        (broker(ErrorKind::InvalidParams), "invalid_params", "-32602", false),
        (broker(ErrorKind::HeaderMismatch), "header_mismatch", "-32020", false),
        (broker(ErrorKind::Denied), "denied", "40300", false),
        (broker(ErrorKind::TooLarge), "too_large", "-32600", false),
        (broker(ErrorKind::Overloaded), "overloaded", "42900", true),
        (broker(ErrorKind::Unavailable), "unavailable", "50300", true),
        (broker(ErrorKind::DeadlineExceeded), "deadline_exceeded", "50400", true),
        (broker(ErrorKind::StreamLost), "stream_lost", "50410", true),
        (broker(ErrorKind::BadServer), "bad_server", "50200", true),
        (broker(ErrorKind::Internal), "internal", "-32603", true),
    ];
    let (tracer, mut records, _) = queue(1.0, true, 4);
    for (error, kind, code, server_fails) in table {
        for (span_kind, fails) in [(SpanKind::Server, server_fails), (SpanKind::Client, true)] {
            let mut span = tracer.start(span_kind, "x", None);
            span.fail(&error);
            span.end();
            let record = records.try_recv().unwrap();
            let text = |key| record.attribute(key).and_then(Value::as_text).unwrap().to_owned();
            assert_eq!(text(names::ERROR_TYPE), kind);
            assert_eq!(text(names::RPC_RESPONSE_STATUS_CODE), code);
            assert_eq!(record.error.as_deref(), fails.then_some("m"), "{span_kind:?} {error:?}");
        }
    }
    let mut span = tracer.start(SpanKind::Server, "x", None);
    span.fail_tool();
    span.end();
    let record = records.try_recv().unwrap();
    assert_eq!(record.attribute(names::ERROR_TYPE), Some(&"tool_error".into()));
    assert!(record.error.is_some());
}

#[test]
fn overflow_is_counted_exactly() {
    let (tracer, mut records, metrics) = queue(1.0, true, 4);
    (0..10).for_each(|_| tracer.start(SpanKind::Internal, "x", None).end());
    assert_eq!(metrics.spans(SpanResult::DroppedQueue), 6);
    assert!(metrics.encode_openmetrics().contains("spanwire_telemetry_queue_spans 4\n"));
    records.close();
    tracer.start(SpanKind::Internal, "x", None).end();
    assert_eq!(metrics.spans(SpanResult::LostAtShutdown), 1);
    assert_eq!(metrics.spans(SpanResult::DroppedQueue), 6);
}
