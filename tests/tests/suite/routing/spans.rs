//! What one call leaves in the ring.

use futures::StreamExt;
use spanwire_model::TraceContext;
use spanwire_telemetry::{SpanKind, SpanRecord, names};

use super::{
    script::Script,
    world::{Node, Setup, World},
};

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

fn parent() -> TraceContext {
    TraceContext { trace_id: TRACE, span_id: 7, sampled: true, tracestate: None }
}

fn spans(node: &Node) -> Vec<SpanRecord> {
    node.telemetry.ring().trace(TRACE).unwrap_or_default()
}

fn one(spans: &[SpanRecord], kind: SpanKind) -> SpanRecord {
    let mut found = spans.iter().filter(|span| span.kind == kind);
    let span = found.next().unwrap_or_else(|| panic!("no {kind:?} in {spans:#?}")).clone();
    assert!(found.next().is_none(), "{kind:?} twice in {spans:#?}");
    span
}

fn text(span: &SpanRecord, key: &str) -> String {
    match span.attribute(key) {
        Some(spanwire_telemetry::Value::Text(text)) => text.to_string(),
        other => panic!("{key} is {other:?} in {span:#?}"),
    }
}

#[tokio::test]
async fn one_call_over_two_nodes_is_one_trace() {
    let fs = Script::new("fs", &["echo", "complain"]);
    let world = World::new();
    let (a, b) = (world.start("a", Setup::of(&[])).await, world.start("b", Setup::of(&[&fs])).await);
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    let mut request = a.tool("fs__echo");
    request.call.parent = Some(parent());
    request.ok().await;
    let (here, there) = (spans(&a), spans(&b));
    let server = one(&here, SpanKind::Server);
    let route = one(&here, SpanKind::Internal);
    let producer = one(&here, SpanKind::Producer);
    let consumer = one(&there, SpanKind::Consumer);
    let client = one(&there, SpanKind::Client);
    let chain = [&server, &route, &producer, &consumer, &client];
    assert_eq!(server.parent_span_id, Some(7));
    for pair in chain.windows(2) {
        assert_eq!(pair[1].parent_span_id, Some(pair[0].span_id), "{} below {}", pair[1].name, pair[0].name);
    }
    let subject = "sw.v1.{tenant}.node.{node}.{principal}.{server}.{method}.{name}";
    assert_eq!(
        chain.map(|span| (&*span.name, &*span.node)),
        [
            ("tools/call fs__echo", "a"),
            ("route", "a"),
            (&*format!("publish {subject}"), "a"),
            (&*format!("process {subject}"), "b"),
            ("tools/call echo", "b"),
        ]
    );
    assert_eq!(text(&route, names::SPANWIRE_ROUTE), "backbone");
    assert_eq!(text(&producer, names::MESSAGING_SYSTEM), "memory");
    for (span, key) in [
        (&producer, names::SPANWIRE_WIRE_MS),
        (&consumer, names::SPANWIRE_BUDGET_MS),
        (&client, names::SPANWIRE_WAIT_MS),
        (&client, names::SPANWIRE_EXECUTE_MS),
    ] {
        let spanwire_telemetry::Value::Float(ms) = span.attribute(key).unwrap() else { panic!("{key}") };
        assert!((0.0..60_001.0).contains(ms), "{key} {ms}");
    }
    assert!(chain.iter().all(|span| span.error.is_none()));
    // What the server is sent continues the trace.
    let sent = fs.seen.borrow().calls[0].trace.clone().unwrap();
    assert_eq!((sent.trace_id, sent.span_id), (TRACE, client.span_id));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_cancelled_calls_spans_say_so() {
    let fs = Script::new("fs", &["hang"]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    let mut request = node.tool("fs__hang");
    request.call.parent = Some(parent());
    let mut reply = request.send();
    tokio::select! {
        _ = reply.next() => panic!("it hangs"),
        _ = fs.until("called", |seen| seen.calls.len() == 1) => {}
    }
    drop(reply);
    let spans = spans(&node);
    assert_eq!(spans.len(), 3, "{spans:#?}");
    for span in &spans {
        assert_eq!(text(span, names::ERROR_TYPE), "cancelled", "{}", span.name);
    }
    assert_eq!(text(&one(&spans, SpanKind::Internal), names::SPANWIRE_ROUTE), "local");
    node.stop().await;
}

#[tokio::test]
async fn failures_are_marked_on_the_spans_they_concern() {
    let fs = Script::new("fs", &["fail", "complain"]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    for (tool, kind) in [("fs__fail", "-32042"), ("fs__complain", "tool_error")] {
        let mut request = node.tool(tool);
        let context = TraceContext { trace_id: TRACE + u128::from(tool == "fs__fail"), ..parent() };
        request.call.parent = Some(context.clone());
        let _ = request.outcome().await;
        let spans = node.telemetry.ring().trace(context.trace_id).unwrap();
        for span in [one(&spans, SpanKind::Server), one(&spans, SpanKind::Client)] {
            assert_eq!(text(&span, names::ERROR_TYPE), kind, "{}", span.name);
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_caller_cannot_make_span_names_grow() {
    let fs = Script::new("fs", &[]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    for (method, name) in [("vendor/do".to_owned(), "vendor/do"), ("x".repeat(100_000), "_other")] {
        let mut request = node.request(&method, "{}").through("fs");
        let context = TraceContext { trace_id: u128::try_from(method.len()).unwrap(), ..parent() };
        request.call.parent = Some(context.clone());
        request.ok().await;
        let spans = node.telemetry.ring().trace(context.trace_id).unwrap();
        for span in [one(&spans, SpanKind::Server), one(&spans, SpanKind::Client)] {
            assert_eq!(span.name, name);
            assert!(text(&span, names::MCP_METHOD_NAME).len() <= SpanRecord::MAX_TEXT_BYTES);
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_retry_is_linked_to_the_call_that_asked() {
    let fs = Script::new("fs", &["ask"]);
    let world = World::new();
    let (a, b) = (world.start("a", Setup::of(&[])).await, world.start("b", Setup::of(&[&fs])).await);
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    let mut request = a.tool("fs__ask");
    request.call.parent = Some(parent());
    let asked = spanwire_mcp::Json::from_trusted(request.ok().await);
    let state = asked.get("requestState").unwrap();
    assert_eq!(text(&one(&spans(&a), SpanKind::Server), names::SPANWIRE_INPUT), "required");
    let first = one(&spans(&b), SpanKind::Consumer);
    let mut retry =
        a.request("tools/call", format!(r#"{{"name":"fs__ask","arguments":{{}},"requestState":{state:?}}}"#));
    let other = TraceContext { trace_id: TRACE + 1, ..parent() };
    retry.call.parent = Some(other);
    retry.ok().await;
    let of_retry = |node: &Node| node.telemetry.ring().trace(TRACE + 1).unwrap();
    assert_eq!(text(&one(&of_retry(&a), SpanKind::Server), names::SPANWIRE_INPUT), "brought");
    let client = one(&of_retry(&b), SpanKind::Client);
    let links: Vec<_> = client.links.iter().map(|link| (link.trace_id, link.span_id)).collect();
    assert_eq!(links, [(TRACE, first.span_id)]);
    a.stop().await;
    b.stop().await;
}
