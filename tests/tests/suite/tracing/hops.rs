//! The tree of a call, hop by hop.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use spanwire_tests::{
    node::Caller,
    otlp::{Collector, Received},
};

use super::{
    deployment::{Deployment, Parent, echoed_meta},
    exposition,
};

const CALL_TEMPLATE: &str = "sw.v1.{tenant}.node.{node}.{principal}.{server}.{method}.{name}";
/// Spans of a call that crosses the bus.
const REMOTE_HOPS: usize = 5;
/// Spans of a call that does not.
const LOCAL_HOPS: usize = 3;
/// Clocks of spans and of their attributes are read one after the other.
const SLACK_MS: f64 = 2.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_trace_over_every_hop() {
    let deployment = Deployment::start(60_000).await;
    let spans = a_remote_call(&deployment).await;
    a_local_call(&deployment).await;
    the_header_counts_unless_meta_says_otherwise(&deployment).await;
    an_http_server_gets_the_trace_too(&deployment).await;
    an_unsampled_call_leaves_no_span_but_travels_on(&deployment).await;
    the_command_line_shows_the_same(&deployment, &spans).await;
    for (node, series) in [
        (&deployment.b, "mcp_server_operation_duration_seconds_count"),
        (&deployment.a, "mcp_client_operation_duration_seconds_count"),
    ] {
        let text = node.metrics().await.unwrap();
        exposition::check(&text);
        let labels = ["mcp_method_name=\"tools/call\"", "spanwire_server=\"script\""];
        assert!(spanwire_tests::node::sum_of(&text, series, &labels) >= 1.0, "{series} in {text}");
    }
}

pub(super) async fn trace(collector: &Collector, parent: &Parent, count: usize) -> Vec<Received> {
    let spans = collector.wait_for(&parent.trace_id, count).await.unwrap();
    let lines: Vec<String> = spans.iter().map(Received::describe).collect();
    assert_eq!(spans.len(), count, "{lines:#?}");
    spans
}

pub(super) fn one(spans: &[Received], kind: SpanKind) -> &Received {
    let mut found = spans.iter().filter(|span| span.kind() == kind);
    let span = found.next().unwrap_or_else(|| panic!("no {kind:?} span"));
    assert!(found.next().is_none(), "two {kind:?} spans");
    span
}

/// Kind, name, node and parent of a span, and some of its attributes.
pub(super) fn check(span: &Received, name: &str, node: &str, parent_id: &str, attributes: &[(&str, &str)]) {
    let line = span.describe();
    assert_eq!(span.span.name, name, "{line}");
    assert_eq!(span.parent_id(), parent_id, "{line}");
    assert_eq!(span.resource("service.instance.id").as_deref(), Some(node), "{line}");
    assert_eq!(span.resource("service.name").as_deref(), Some("spanwire"), "{line}");
    assert!(span.resource("service.version").is_some(), "{line}");
    assert!(!span.failed(), "{line}");
    for (key, value) in attributes {
        assert_eq!(span.attribute(key).as_deref(), Some(*value), "{key} of {line}");
    }
}

/// From b, to the server of a, with the trace context in `_meta`.
async fn a_remote_call(deployment: &Deployment) -> Vec<Received> {
    let parent = Parent::new();
    let answer = parent.in_meta(&deployment.b).call("script__echo", json!({ "x": 1 })).await.unwrap();
    let spans = trace(&deployment.collector, &parent, REMOTE_HOPS).await;
    let server = one(&spans, SpanKind::Server);
    let route = one(&spans, SpanKind::Internal);
    let producer = one(&spans, SpanKind::Producer);
    let consumer = one(&spans, SpanKind::Consumer);
    let client = one(&spans, SpanKind::Client);
    let call = server.attribute("spanwire.call_id").unwrap();
    check(
        server,
        "tools/call script__echo",
        "b",
        parent.span_id,
        &[
            ("mcp.method.name", "tools/call"),
            ("mcp.protocol.version", "2026-07-28"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "script__echo"),
            ("jsonrpc.request.id", "1"),
            ("network.transport", "tcp"),
            ("client.address", "127.0.0.1"),
            ("spanwire.edge", "http"),
            ("spanwire.era", "modern"),
            ("spanwire.principal", "anonymous"),
            ("spanwire.server", "script"),
        ],
    );
    check(route, "route", "b", &server.span_id(), &[("spanwire.route", "backbone"), ("spanwire.server", "script")]);
    let bus = [
        ("messaging.system", "nats"),
        ("messaging.destination.template", CALL_TEMPLATE),
        ("messaging.consumer.group.name", "script"),
        ("messaging.message.conversation_id", &*call),
        ("spanwire.server", "script"),
    ];
    check(producer, &format!("publish {CALL_TEMPLATE}"), "b", &route.span_id(), &bus);
    check(
        producer,
        &producer.span.name,
        "b",
        &route.span_id(),
        &[("messaging.operation.name", "publish"), ("messaging.operation.type", "send")],
    );
    check(consumer, &format!("process {CALL_TEMPLATE}"), "a", &producer.span_id(), &bus);
    check(
        consumer,
        &consumer.span.name,
        "a",
        &producer.span_id(),
        &[("messaging.operation.name", "process"), ("messaging.operation.type", "process")],
    );
    let links: Vec<&[u8]> = consumer.span.links.iter().map(|link| &*link.span_id).collect();
    assert_eq!(links, [&*producer.span.span_id], "{}", consumer.describe());
    check(
        client,
        "tools/call echo",
        "a",
        &consumer.span_id(),
        &[
            ("mcp.method.name", "tools/call"),
            ("mcp.protocol.version", "2025-11-25"),
            ("gen_ai.tool.name", "echo"),
            ("network.transport", "pipe"),
            ("spanwire.era", "legacy"),
            ("spanwire.server", "script"),
        ],
    );
    the_parts_fit_into_the_whole(server, producer, client);
    let expected = format!("00-{}-{}-01", parent.trace_id, client.span_id());
    assert_eq!(echoed_meta(&answer)["traceparent"], expected, "{answer}");
    spans
}

fn the_parts_fit_into_the_whole(server: &Received, producer: &Received, client: &Received) {
    let milliseconds = |span: &Received| span.duration().as_secs_f64() * 1e3;
    let wait = client.number("spanwire.wait_ms").unwrap();
    let execute = client.number("spanwire.execute_ms").unwrap();
    let wire = producer.number("spanwire.wire_ms").unwrap();
    for part in [wait, execute, wire] {
        assert!(part >= 0.0 && part.is_finite());
    }
    assert!(execute > 0.0);
    let (parts, whole) = (wait + execute + wire, milliseconds(server));
    assert!(parts <= whole + SLACK_MS, "waiting {wait} + executing {execute} + wire {wire} > {whole} ms");
    assert!(milliseconds(producer) <= whole + SLACK_MS && milliseconds(client) <= whole + SLACK_MS);
}

async fn a_local_call(deployment: &Deployment) {
    let parent = Parent::new();
    parent.in_meta(&deployment.a).call("script__echo", json!({})).await.unwrap();
    let spans = trace(&deployment.collector, &parent, LOCAL_HOPS).await;
    let (server, route, client) =
        (one(&spans, SpanKind::Server), one(&spans, SpanKind::Internal), one(&spans, SpanKind::Client));
    check(server, "tools/call script__echo", "a", parent.span_id, &[("gen_ai.tool.name", "script__echo")]);
    check(route, "route", "a", &server.span_id(), &[("spanwire.route", "local")]);
    check(client, "tools/call echo", "a", &route.span_id(), &[("gen_ai.tool.name", "echo")]);
}

async fn the_header_counts_unless_meta_says_otherwise(deployment: &Deployment) {
    let header = Parent::new();
    header.in_header(&deployment.b).call("script__echo", json!({})).await.unwrap();
    let spans = trace(&deployment.collector, &header, REMOTE_HOPS).await;
    assert_eq!(one(&spans, SpanKind::Server).parent_id(), header.span_id);

    let (header, meta) = (Parent::new(), Parent::new());
    let both = header.in_header(&deployment.b).with_meta("traceparent", json!(meta.traceparent()));
    both.call("script__echo", json!({})).await.unwrap();
    trace(&deployment.collector, &meta, REMOTE_HOPS).await;
    assert!(deployment.collector.spans(&header.trace_id).is_empty());

    // Without either, the call begins a trace of its own.
    let answer = Caller::new(deployment.b.mcp_url("")).call("script__echo", json!({})).await.unwrap();
    let traceparent = echoed_meta(&answer)["traceparent"].as_str().unwrap().to_owned();
    let own = Parent { trace_id: traceparent.split('-').nth(1).unwrap().to_owned(), ..Parent::new() };
    let spans = trace(&deployment.collector, &own, REMOTE_HOPS).await;
    assert_eq!(one(&spans, SpanKind::Server).parent_id(), "");
}

async fn an_http_server_gets_the_trace_too(deployment: &Deployment) {
    let parent = Parent::new();
    let answer = parent.in_meta(&deployment.b).call("headers__show", json!({})).await.unwrap();
    let spans = trace(&deployment.collector, &parent, REMOTE_HOPS).await;
    let expected = format!("00-{}-{}-01", parent.trace_id, one(&spans, SpanKind::Client).span_id());
    let shown = echoed_meta(&answer);
    assert_eq!(shown["header"], expected, "{answer}");
    assert_eq!(shown["meta"], expected, "{answer}");
}

async fn an_unsampled_call_leaves_no_span_but_travels_on(deployment: &Deployment) {
    let parent = Parent::unsampled();
    let answer = parent.in_meta(&deployment.b).call("script__echo", json!({})).await.unwrap();
    let traceparent = echoed_meta(&answer)["traceparent"].as_str().unwrap().to_owned();
    assert!(traceparent.starts_with(&format!("00-{}-", parent.trace_id)), "{traceparent}");
    assert!(traceparent.ends_with("-00"), "{traceparent}");
    // Spans are sent in order: those of a later call are there, so these would be.
    let later = Parent::new();
    later.in_meta(&deployment.b).call("script__echo", json!({})).await.unwrap();
    trace(&deployment.collector, &later, REMOTE_HOPS).await;
    assert!(deployment.collector.spans(&parent.trace_id).is_empty());
}

async fn the_command_line_shows_the_same(deployment: &Deployment, spans: &[Received]) {
    let id = spans[0].trace_id();
    let listed = deployment.b.command_json(&["--json", "trace", "ls", "--limit", "100"]).await.unwrap();
    let listed = listed["traces"].as_array().unwrap();
    let summary = listed.iter().find(|trace| trace["trace_id"] == id.as_str()).expect("the trace is not listed");
    assert_eq!(summary["name"], "tools/call script__echo", "{summary}");

    let shown = deployment.b.command_json(&["--json", "trace", "show", &id]).await.unwrap();
    let field = |key: &str| -> Vec<String> {
        let spans = shown["spans"].as_array().unwrap();
        spans.iter().map(|span| span[key].as_str().unwrap().to_owned()).collect()
    };
    let mut expected: Vec<String> = spans.iter().map(Received::span_id).collect();
    let mut ids = field("span_id");
    expected.sort();
    ids.sort();
    assert_eq!(ids, expected, "{shown}");
    let text = deployment.b.command(&["trace", "show", &id[..12]]).await.unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for part in ["tools/call script__echo", "route", "publish", "process", "tools/call echo"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
}
