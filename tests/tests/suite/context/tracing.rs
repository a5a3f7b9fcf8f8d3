//! A write is one trace: the door, the context, the ledger.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use spanwire_rpc::v1::ContextPutRequest;
use spanwire_tests::{node::Caller, otlp::Received};
use tonic::Request;
use uuid::Uuid;

use super::world::World;

const PARENT: &str = "00f067aa0ba902b7";

pub(super) async fn check(world: &mut World) {
    over_grpc(world).await;
    over_mcp(world).await;
}

fn named<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    let lines: Vec<String> = spans.iter().map(Received::describe).collect();
    spans.iter().find(|span| span.span.name == name).unwrap_or_else(|| panic!("no span \"{name}\" in {lines:#?}"))
}

async fn over_grpc(world: &World) {
    let trace = Uuid::new_v4().simple().to_string();
    let put = ContextPutRequest {
        space: "traced".into(),
        key: "k".into(),
        value_json: "1".into(),
        ..ContextPutRequest::default()
    };
    let mut request = Request::new(put);
    request.metadata_mut().insert("traceparent", format!("00-{trace}-{PARENT}-01").parse().unwrap());
    world.first().contexts().await.unwrap().put(request).await.unwrap();
    let spans = world.collector.wait_for(&trace, 3).await.unwrap();
    let door = named(&spans, "spanwire.v1.Contexts/Put");
    assert_eq!((door.kind(), door.parent_id()), (SpanKind::Server, PARENT.to_owned()), "{}", door.describe());
    for (key, expected) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "spanwire.v1.Contexts/Put"),
        ("spanwire.principal", "operator"),
        ("spanwire.edge", "grpc"),
    ] {
        assert_eq!(door.attribute(key).as_deref(), Some(expected), "{}", door.describe());
    }
    written(&spans, door);
}

async fn over_mcp(world: &World) {
    let trace = Uuid::new_v4().simple().to_string();
    let parent = format!("00-{trace}-{PARENT}-01");
    let caller = Caller::new(world.first().mcp_url("")).with_meta("traceparent", json!(parent));
    let answer = caller.call("context__put", json!({ "space": "traced", "key": "m", "value": 1 })).await.unwrap();
    assert_ne!(answer["result"]["isError"], true, "{answer}");
    let spans = world.collector.wait_for(&trace, 5).await.unwrap();
    let edge = named(&spans, "tools/call context__put");
    assert_eq!((edge.kind(), edge.parent_id()), (SpanKind::Server, PARENT.to_owned()), "{}", edge.describe());
    let route = named(&spans, "route");
    assert_eq!(route.parent_id(), edge.span_id(), "{}", route.describe());
    let client = named(&spans, "tools/call put");
    assert_eq!(client.parent_id(), route.span_id(), "{}", client.describe());
    written(&spans, client);

    // The version names the span that wrote it.
    let shown = caller.call("context__get", json!({ "space": "traced", "key": "m" })).await.unwrap();
    let text = shown["result"].to_string();
    let write = named(&spans, "context write");
    assert!(text.contains(&trace), "no {trace} in {text}");
    assert!(text.contains(&write.span_id()), "no {} in {text}", write.span_id());
}

/// The context's span below `parent`, and the ledger's below that.
fn written(spans: &[Received], parent: &Received) {
    let write = named(spans, "context write");
    assert_eq!(write.parent_id(), parent.span_id(), "{}", write.describe());
    let append = named(spans, "ledger append");
    assert_eq!(append.parent_id(), write.span_id(), "{}", append.describe());
}
