use spanwire_rpc::v1;
use tonic::Code;

use super::*;

#[tokio::test]
async fn traces_are_listed_and_found_by_prefix() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let all = client.list_traces(v1::ListTracesRequest::default()).await.unwrap().into_inner().traces;
    assert_eq!(all.len(), 3);
    assert_eq!(all[0].trace_id, format!("aaaa{:028}", 0));
    let failed = v1::ListTracesRequest { errors_only: true, limit: 1, ..Default::default() };
    let failed = client.list_traces(failed).await.unwrap().into_inner().traces;
    assert_eq!((failed.len(), failed[0].error.as_str()), (1, "it broke"));

    let mut get = async |id: &str| client.get_trace(v1::GetTraceRequest { trace_id: id.into() }).await;
    let found = get("BBBB").await.unwrap().into_inner();
    assert_eq!(found.summary.unwrap().servers, ["git"]);
    let pair = |key: &str, value: &str, json: &str| v1::KeyValue {
        key: key.into(),
        value: value.into(),
        value_json: json.to_owned().into(),
    };
    let expected = v1::Span {
        trace_id: format!("bbbb{:028}", 0),
        span_id: "00000000000000ab".into(),
        parent_span_id: "00000000000000cd".into(),
        name: "tools/call git__status".into(),
        kind: v1::SpanKind::Server.into(),
        start_unix_nanos: 1,
        end_unix_nanos: 9,
        attributes: vec![pair("rpc.system", "mcp", "\"mcp\""), pair("spanwire.attempt", "2", "2")],
        failed: true,
        error: String::new(),
        node: "here".into(),
    };
    assert_eq!(found.spans, [expected]);
    for (id, code, name) in [
        ("aaaa", Code::InvalidArgument, "invalid_params"),
        ("xyz", Code::InvalidArgument, "invalid_params"),
        ("cccc", Code::NotFound, "not_found"),
    ] {
        let refused = get(id).await.unwrap_err();
        assert_eq!((refused.code(), kind(&refused)), (code, name), "{id}");
    }
    node.stop().await;
}

#[tokio::test]
async fn traces_are_followed_until_the_shutdown() {
    let node = Node::start(None).await;
    let request = v1::FollowTracesRequest { errors_only: true, ..Default::default() };
    let mut followed = node.client().await.follow_traces(request).await.unwrap().into_inner();
    for (id, errors) in [(1, 0), (2, 1)] {
        node.control.ended.send(trace(id, errors).summary).unwrap();
    }
    assert_eq!(first(&mut followed).await.trace_id, format!("{:032x}", 2));
    node.shutdown.cancel();
    let end = soon("the end", followed.next()).await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    node.stop().await;
}
