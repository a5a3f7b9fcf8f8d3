//! A call of a legacy session through another node than the session's: the hop between them is in the trace.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use spanwire_tests::node::{Node, http_client};

use super::{
    deployment::{Deployment, Parent, echoed_meta},
    hops::{check, one, trace},
};

const NODE_TEMPLATE: &str = "sw.v1.{tenant}.node.{node}.{principal}.{server}.{method}.{name}";
/// PRODUCER at b; CONSUMER, SERVER, route and CLIENT at a.
const HOPS: usize = 5;

async fn post(node: &Node, session: Option<&str>, body: Value) -> reqwest::Response {
    let request = http_client()
        .post(node.mcp_url(""))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    let request = session.iter().fold(request, |request, session| request.header("mcp-session-id", *session));
    request.body(body.to_string()).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relayed_call_is_one_trace() {
    let deployment = Deployment::start(60_000).await;
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let opened = post(&deployment.a, None, hello).await;
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let shown = format!("{}…", &session[..session.find('.').unwrap() + 9]);

    let parent = Parent::new();
    let params = json!({"name": "script__echo", "arguments": {}, "_meta": {"traceparent": parent.traceparent()}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let answer: Value =
        serde_json::from_str(&post(&deployment.b, Some(&session), call).await.text().await.unwrap()).unwrap();

    let spans = trace(&deployment.collector, &parent, HOPS).await;
    let (producer, consumer) = (one(&spans, SpanKind::Producer), one(&spans, SpanKind::Consumer));
    let (server, client) = (one(&spans, SpanKind::Server), one(&spans, SpanKind::Client));
    let bus = [
        ("messaging.system", "nats"),
        ("messaging.destination.template", NODE_TEMPLATE),
        // Enough to tell sessions apart, too little to use one.
        ("mcp.session.id", &*shown),
        ("spanwire.principal", "anonymous"),
    ];
    check(producer, &format!("publish {NODE_TEMPLATE}"), "b", parent.span_id, &bus);
    check(consumer, &format!("process {NODE_TEMPLATE}"), "a", &producer.span_id(), &bus);
    let exchange = producer.attribute("messaging.message.conversation_id").unwrap();
    assert_eq!(consumer.attribute("messaging.message.conversation_id"), Some(exchange));
    assert!(producer.number("spanwire.wire_ms").is_some_and(|wire| wire >= 0.0));
    check(
        server,
        "tools/call script__echo",
        "a",
        &consumer.span_id(),
        &[("mcp.protocol.version", "2025-11-25"), ("spanwire.era", "legacy"), ("client.address", "127.0.0.1")],
    );
    check(one(&spans, SpanKind::Internal), "route", "a", &server.span_id(), &[("spanwire.route", "local")]);
    let expected = format!("00-{}-{}-01", parent.trace_id, client.span_id());
    assert_eq!(echoed_meta(&answer)["traceparent"], expected, "{answer}");
}
