//! What a trace says of calls that fail.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use spanwire_tests::{
    node::{Caller, Node},
    otlp::Received,
};

use super::deployment::{Deployment, Parent};

/// How long `script__hang` may take.
const HANG_MS: u64 = 400;

fn of_kind(spans: &[Received], kind: SpanKind) -> &Received {
    spans.iter().find(|span| span.kind() == kind).unwrap_or_else(|| panic!("no {kind:?} span"))
}

fn error_type(spans: &[Received], kind: SpanKind) -> Option<String> {
    of_kind(spans, kind).attribute("error.type")
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_calls_say_so_on_every_hop() {
    let deployment = Deployment::start(HANG_MS).await;
    a_tool_error(&deployment).await;
    an_unknown_tool(&deployment).await;
    a_deadline(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_says_so_on_every_hop() {
    let deployment = Deployment::start(60_000).await;
    let parent = Parent::new();
    hang_and_leave(&parent.in_meta(&deployment.b)).await;
    let spans = deployment.collector.wait_for(&parent.trace_id, 5).await.unwrap();
    for kind in [SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Client] {
        assert_eq!(error_type(&spans, kind).as_deref(), Some("cancelled"), "{}", of_kind(&spans, kind).describe());
    }
    assert!(deployment.b.metric("spanwire_calls_cancelled_total", &[]).await.unwrap() >= 1.0);
    assert!(in_flight(&deployment.a).await + in_flight(&deployment.b).await < 0.5);
}

async fn in_flight(node: &Node) -> f64 {
    node.metric("spanwire_calls_in_flight", &[]).await.unwrap()
}

/// Leaves once the server is known to work.
async fn hang_and_leave(caller: &Caller) {
    let params = json!({ "name": "script__hang", "arguments": {}, "_meta": { "progressToken": "p" } });
    let mut messages = caller.open("tools/call", params).await.unwrap();
    let progress = messages.next().await.unwrap();
    assert_eq!(progress["method"], "notifications/progress", "{progress}");
}

async fn a_tool_error(deployment: &Deployment) {
    let parent = Parent::new();
    let answer = parent.in_meta(&deployment.b).call("script__refuse", json!({})).await.unwrap();
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    let spans = deployment.collector.wait_for(&parent.trace_id, 5).await.unwrap();
    for kind in [SpanKind::Server, SpanKind::Client] {
        let span = of_kind(&spans, kind);
        assert_eq!(span.attribute("error.type").as_deref(), Some("tool_error"), "{}", span.describe());
        assert!(span.failed(), "{}", span.describe());
    }
    // The message itself was delivered.
    for kind in [SpanKind::Producer, SpanKind::Consumer] {
        assert!(!of_kind(&spans, kind).failed(), "{}", of_kind(&spans, kind).describe());
    }
}

async fn an_unknown_tool(deployment: &Deployment) {
    let parent = Parent::new();
    let answer = parent.in_meta(&deployment.b).call("script__nosuch", json!({})).await.unwrap();
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let spans = deployment.collector.wait_for(&parent.trace_id, 1).await.unwrap();
    let server = of_kind(&spans, SpanKind::Server);
    // A name that a caller made up is no part of a span's name.
    assert_eq!(server.span.name, "tools/call", "{}", server.describe());
    assert_eq!(server.attribute("rpc.response.status_code").as_deref(), Some("-32602"), "{}", server.describe());
    assert!(server.attribute("error.type").is_some(), "{}", server.describe());
    // The caller's fault is no error of the server (semantic conventions for RPC).
    assert!(!server.failed(), "{}", server.describe());
}

async fn a_deadline(deployment: &Deployment) {
    let parent = Parent::new();
    let answer: Value = parent.in_meta(&deployment.b).call("script__hang", json!({})).await.unwrap();
    assert_eq!(answer["error"]["data"]["kind"], "deadline_exceeded", "{answer}");
    let spans = deployment.collector.wait_for(&parent.trace_id, 5).await.unwrap();
    for kind in [SpanKind::Server, SpanKind::Client] {
        let span = of_kind(&spans, kind);
        assert_eq!(span.attribute("error.type").as_deref(), Some("deadline_exceeded"), "{}", span.describe());
        assert!(span.failed(), "{}", span.describe());
        let took = span.duration().as_millis();
        assert!(took >= u128::from(HANG_MS) - 5, "{}", span.describe());
    }
}
