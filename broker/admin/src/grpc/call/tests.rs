#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use spanwire_mcp::Notification;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn request(name: &str, arguments: &'static str, params: &'static str) -> v1::CallRequest {
    v1::CallRequest {
        name: name.into(),
        arguments_json: Bytes::from_static(arguments.as_bytes()),
        params_json: Bytes::from_static(params.as_bytes()),
        ..Default::default()
    }
}

#[tokio::test]
async fn params_are_put_together() {
    let check = |request: v1::CallRequest, expected: Value| {
        let call = build(request, None).unwrap();
        let mut params = call.params.to_value();
        let meta = params["_meta"].take();
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "spanwire-control");
        assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
        assert!(meta["progressToken"].is_string());
        assert_eq!((params, call.principal), (expected, Principal::new(Principal::OPERATOR)));
    };
    check(request("a__b", "", ""), json!({"name": "a__b", "_meta": null}));
    check(request("a__b", r#"{"x":1}"#, ""), json!({"name": "a__b", "arguments": {"x": 1}, "_meta": null}));
    check(
        request("new", r#"{"x":1}"#, r#"{"name":"old","arguments":{},"other":[2],"_meta":{}}"#),
        json!({"name": "new", "arguments": {"x": 1}, "other": [2], "_meta": null}),
    );
    check(request("", "", r#"{"name":"kept"}"#), json!({"name": "kept", "_meta": null}));
    check(v1::CallRequest { method: "tools/list".into(), ..Default::default() }, json!({"_meta": null}));
}

#[tokio::test]
async fn meta_of_the_caller_stays() {
    let given =
        r#"{"name":"t","_meta":{"progressToken":7,"x":1,"io.modelcontextprotocol/clientCapabilities":{"roots":{}}}}"#;
    let call = build(request("", "", given), None).unwrap();
    let meta = call.params.to_value()["_meta"].take();
    assert_eq!((&meta["progressToken"], &meta["x"]), (&json!(7), &json!(1)));
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({"roots": {}}));
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let check = |request: v1::CallRequest, expected: ErrorKind| {
        assert_eq!(build(request.clone(), None).unwrap_err().kind, expected, "{request:?}");
    };
    let params = ErrorKind::InvalidParams;
    check(request("", "", ""), params);
    check(request("t", "[]", ""), params);
    check(request("t", "{}, \"name\": \"u\"", ""), params);
    check(request("t", "", "7"), params);
    check(request("t", "", r#"{"_meta":1}"#), params);
    check(request("t", "", r#"{"_meta":{"traceparent":1}}"#), params);
    let version = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25"}}"#;
    check(request("t", "", version), ErrorKind::UnsupportedVersion);
    let method = "notifications/cancelled".to_owned();
    check(v1::CallRequest { method, ..Default::default() }, ErrorKind::InvalidRequest);
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(70), "]".repeat(70));
    check(v1::CallRequest { arguments_json: deep.into(), ..request("t", "", "") }, ErrorKind::TooLarge);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(Limits::default().max_bytes));
    let built = build(v1::CallRequest { arguments_json: large.into(), ..request("t", "", "") }, None);
    assert_eq!(built.unwrap_err().kind, ErrorKind::TooLarge);
}

#[tokio::test]
async fn budget_and_trace_are_read() {
    let left = |timeout_ms| {
        let call = build(v1::CallRequest { timeout_ms, ..request("t", "", "") }, None).unwrap();
        call.deadline.duration_since(Instant::now()).as_secs_f64().ceil()
    };
    assert_eq!((left(0), left(5_000), left(u64::MAX)), (60.0, 5.0, 3600.0));

    let parent = |traceparent: &str, params| {
        let request = v1::CallRequest { traceparent: traceparent.into(), ..request("t", "", params) };
        build(request, None).unwrap().parent.map(|parent| parent.traceparent())
    };
    let meta = r#"{"_meta":{"traceparent":"00-11111111111111111111111111111111-2222222222222222-00"}}"#;
    assert_eq!(parent(PARENT, meta).as_deref(), Some(PARENT));
    assert_eq!(parent("", meta).as_deref(), Some("00-11111111111111111111111111111111-2222222222222222-00"));
    assert_eq!(parent("garbage", ""), None);
}

#[test]
fn errors_keep_code_data_kind_and_retry() {
    let check = |kind: ErrorKind, code: i64, name: &str, retry: v1::Retry| {
        let (event, last) = message(Event::Done(Err(Error::new(kind, "what").with_private("secret"))));
        let v1::call_event::Event::Error(error) = event else { panic!("{event:?}") };
        assert!(last);
        assert_eq!((error.code, error.kind.as_str(), error.retry()), (code, name, retry));
        assert_eq!(error.message, "what");
    };
    check(ErrorKind::InvalidParams, -32602, "invalid_params", v1::Retry::Never);
    check(ErrorKind::Denied, 40300, "denied", v1::Retry::Never);
    check(ErrorKind::Overloaded, 42900, "overloaded", v1::Retry::Safe);
    check(ErrorKind::Unavailable, 50300, "unavailable", v1::Retry::Safe);
    check(ErrorKind::DeadlineExceeded, 50400, "deadline_exceeded", v1::Retry::IfIdempotent);
    check(ErrorKind::StreamLost, 50410, "stream_lost", v1::Retry::IfIdempotent);
    check(ErrorKind::Internal, -32603, "internal", v1::Retry::IfIdempotent);

    let data = Some(Json::from_trusted("[1]"));
    let server = Error::from_server(spanwire_mcp::ErrorObject { code: -7, message: "own".into(), data });
    let (v1::call_event::Event::Error(error), true) = message(Event::Done(Err(server))) else { panic!() };
    assert_eq!((error.code, &error.data_json[..], error.kind.as_str()), (-7, &b"[1]"[..], "server_error"));
}

#[test]
fn what_does_not_fit_ends_the_call() {
    let huge = Json::from_trusted(format!("\"{}\"", "x".repeat(MAX_MESSAGE_BYTES)));
    for event in [
        Event::Done(Ok(huge.clone())),
        Event::Notification(Notification { method: Method::LogMessage, params: Some(huge) }),
    ] {
        let (event, last) = message(event);
        let v1::call_event::Event::Error(error) = event else { panic!() };
        assert_eq!((error.kind.as_str(), last), ("too_large", true));
    }
}

#[tokio::test]
async fn a_call_that_never_ends_is_ended_by_the_shutdown() {
    let shutdown = CancellationToken::new();
    let stream = events(Reply::new(futures::stream::pending()), shutdown.clone(), Duration::ZERO);
    shutdown.cancel();
    let all: Vec<_> = stream.collect().await;
    let [Ok(v1::CallEvent { event: Some(v1::call_event::Event::Error(error)) })] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(error.kind, "stream_lost");
}
