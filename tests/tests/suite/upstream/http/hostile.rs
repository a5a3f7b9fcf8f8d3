//! What HTTP servers can do, and what is made of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{body::Body, http::StatusCode, response::Response};
use spanwire_model::{ErrorKind, TraceContext};

use super::{
    scripted::{Scripted, Seen, respond, status, stream},
    *,
};

async fn modern(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> (Scripted, Connected) {
    let server = Scripted::start(move |seen| match seen.method() {
        "server/discover" => seen.discovered(),
        _ => script(seen),
    })
    .await;
    let connected = reach(&server.url).await.unwrap();
    (server, connected)
}

async fn legacy(script: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> (Scripted, Connected) {
    let server = Scripted::start(move |seen| match seen.method() {
        "server/discover" => respond(400, "text/plain", "Bad Request: no session"),
        "initialize" => seen.initialized("first"),
        _ => script(seen),
    })
    .await;
    let connected = reach(&server.url).await.unwrap();
    (server, connected)
}

#[tokio::test]
async fn a_modern_request_carries_what_mirrors_its_body() {
    let (server, connected) = modern(|seen| match seen.method() {
        "tools/list" => seen.result(&json!({"tools": [{"name": "sql", "inputSchema":
            {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}}]})),
        _ => seen.events(
            &[json!({"jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "info", "data": 1}})],
            &json!({"content": []}),
        ),
    })
    .await;
    ask(&connected, Method::ToolsList, json!({})).await.unwrap();
    let mut request = call(Method::ToolsCall, json!({"name": "sql", "arguments": {"region": "Zürich"}}));
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.trace = TraceContext::parse(parent, None).ok();
    let events = events(connected.upstream.call(request)).await;
    assert!(matches!(events.as_slice(), [Event::Notification(_), Event::Done(Ok(_))]), "{events:?}");
    let seen = server.saw(|seen| seen.method() == "tools/call").await;
    for (header, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "sql"),
        ("mcp-param-region", "=?base64?WsO8cmljaA==?="),
        ("traceparent", parent),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", ""),
    ] {
        assert_eq!(seen.header(header), value, "{header}");
    }
    let meta = &seen.body["params"]["_meta"];
    assert_eq!(meta["traceparent"], parent);
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
}

/// 2026-07-28, streamable-http, "Client Behavior".
#[tokio::test]
async fn a_server_that_wants_other_headers_is_listed_again() {
    let (server, connected) = modern(|seen| {
        let tools = json!({"tools": [{"name": "sql", "inputSchema":
            {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}}]});
        match (seen.method(), seen.header("mcp-param-region")) {
            ("tools/list", _) if seen.body["params"]["cursor"] == "2" => seen.result(&tools),
            ("tools/list", _) => seen.result(&json!({"tools": [], "nextCursor": "2"})),
            (_, "west") => seen.result(&json!({"content": []})),
            _ => {
                let error = json!({"jsonrpc": "2.0", "id": seen.body["id"],
                    "error": {"code": -32020, "message": "header Mcp-Param-Region is missing"}});
                respond(400, "application/json", &error.to_string())
            }
        }
    })
    .await;
    let params = json!({"name": "sql", "arguments": {"region": "west"}, "_meta": {"progressToken": 7}});
    ask(&connected, Method::ToolsCall, params).await.unwrap();
    let methods: Vec<String> = server.seen().iter().map(|seen| seen.method().to_owned()).collect();
    assert_eq!(methods[methods.len() - 4..], ["tools/call", "tools/list", "tools/list", "tools/call"]);
    let listed = server.saw(|seen| seen.method() == "tools/list").await;
    assert_eq!(listed.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(listed.body["params"]["_meta"]["progressToken"], json!(null));
    // A refusal that other headers do not cure is the caller's to hear, after one more look.
    let before = server.seen().len();
    let error = ask(&connected, Method::ToolsCall, json!({"name": "sql", "arguments": {"region": "east"}})).await;
    assert_eq!(error.unwrap_err().code, Some(-32020));
    assert_eq!(server.seen().len() - before, 3);
}

#[tokio::test]
async fn the_era_of_an_http_server() {
    let check = |code: u16, body: &'static str, expected: std::result::Result<Era, (ErrorKind, &'static str)>| async move {
        let server = Scripted::start(move |seen| match seen.method() {
            "server/discover" => respond(code, "application/json", body),
            "initialize" => seen.initialized("s"),
            _ => seen.result(&json!({})),
        })
        .await;
        let got = reach(&server.url).await.map(|connected| connected.facts.era());
        match (got, expected) {
            (Ok(era), Ok(expected)) => assert_eq!(era, expected, "{code} {body}"),
            (Err(error), Err((kind, part))) => {
                assert_eq!(error.kind, kind, "{code} {body}: {error}");
                assert!(error.public.contains(part), "{error}");
            }
            (got, _) => panic!("{code} {body}: {got:?}"),
        }
    };
    for code in [400, 404, 405] {
        check(code, "nothing to see", Ok(Era::Legacy)).await;
    }
    let unknown = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"unknown"}}"#;
    check(404, unknown, Ok(Era::Legacy)).await;
    check(200, unknown, Ok(Era::Legacy)).await;
    check(401, "who are you", Err((ErrorKind::BadServer, "HTTP status 401 and \"who are you\""))).await;
    check(503, "", Err((ErrorKind::Unavailable, "HTTP status 503"))).await;
    let mismatch = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"headers differ"}}"#;
    check(400, mismatch, Err((ErrorKind::BadServer, "headers differ"))).await;
}

#[tokio::test]
async fn a_legacy_session_is_carried_renewed_once_and_ended() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Scripted::start(move |seen| match seen.method() {
        "server/discover" => status(StatusCode::BAD_REQUEST),
        "initialize" => seen.initialized(if count.fetch_add(1, Ordering::SeqCst) == 0 { "first" } else { "second" }),
        _ if seen.header("mcp-session-id") == "first" => status(StatusCode::NOT_FOUND),
        _ => seen.result(&json!({"content": []})),
    })
    .await;
    let connected = reach(&server.url).await.unwrap();
    ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let sessions: Vec<String> = server
        .seen()
        .iter()
        .filter(|seen| seen.method() == "tools/call")
        .map(|seen| format!("{} {}", seen.header("mcp-session-id"), seen.header("mcp-protocol-version")))
        .collect();
    assert_eq!(sessions, ["first 2025-11-25", "second 2025-11-25"]);
    within(connected.upstream.close()).await;
    let deleted = server.saw(|seen| seen.verb == "DELETE").await;
    assert_eq!(deleted.header("mcp-session-id"), "second");
}

#[tokio::test]
async fn a_session_that_is_lost_for_good_is_said_to_be_gone() {
    let (_server, connected) = legacy(|_| status(StatusCode::NOT_FOUND)).await;
    let error = ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::SessionGone);
}

#[tokio::test]
async fn replies_that_are_none() {
    let check = |status: u16, kind: &'static str, body: &'static str, expected: ErrorKind, part: &'static str| async move {
        let (_server, connected) = modern(move |_| respond(status, kind, body)).await;
        let error = ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap_err();
        assert_eq!(error.kind, expected, "{status} {body}: {error}");
        assert!(error.public.contains(part), "{error}");
    };
    let bad = ErrorKind::BadServer;
    check(200, "text/html", "<h1>Welcome</h1>", bad, "HTTP status 200 and \"<h1>Welcome</h1>\"").await;
    check(200, "application/json", "{", bad, "not JSON").await;
    check(500, "text/plain", "oops", bad, "HTTP status 500 and \"oops\"").await;
    check(429, "text/plain", "", ErrorKind::Overloaded, "429").await;
    check(302, "text/plain", "", bad, "302").await;
    check(202, "text/plain", "", bad, "202").await;
    check(200, "text/event-stream", "data: {\n\n", bad, "not JSON").await;
    check(200, "text/event-stream", ": nothing\n\n", ErrorKind::StreamLost, "without a response").await;
    let error = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"unknown tool"}}"#;
    check(200, "application/json", error, ErrorKind::Server, "unknown tool").await;
    check(400, "application/json", error, ErrorKind::Server, "unknown tool").await;
}

#[tokio::test]
async fn bodies_are_bounded() {
    for kind in ["application/json", "text/event-stream"] {
        let server = Scripted::start(move |seen| match seen.method() {
            "server/discover" => seen.discovered(),
            _ => {
                let chunk = || Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![b'x'; 4096]));
                let endless = futures::stream::iter([Ok("data: ".into())]).chain(futures::stream::repeat_with(chunk));
                stream(200, kind, Body::from_stream(endless))
            }
        })
        .await;
        let mut config = http_config();
        config.max_body_bytes = 100_000;
        let connected = within(HttpConnector::new(config).connect(&endpoint(&server.url), None)).await.unwrap();
        let error = ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge, "{kind}");
    }
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_lost() {
    let (_server, connected) = modern(|_| {
        let broken = futures::stream::iter([Ok("data: {\"json".into()), Err(std::io::Error::other("cut"))]);
        stream(200, "text/event-stream", Body::from_stream::<_>(broken.map(|item: std::io::Result<String>| item)))
    })
    .await;
    let error = ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamLost, "{error}");
}

/// A body that never ends, and tells when it is dropped.
fn endless(dropped: tokio::sync::mpsc::UnboundedSender<()>) -> Response {
    struct Tell(tokio::sync::mpsc::UnboundedSender<()>);
    impl Drop for Tell {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let tell = Tell(dropped);
    let first = futures::stream::iter([Ok::<_, std::io::Error>(": open\n\n")]);
    let rest = futures::stream::poll_fn(move |_| {
        let _ = &tell;
        std::task::Poll::Pending
    });
    stream(200, "text/event-stream", Body::from_stream(first.chain(rest)))
}

#[tokio::test]
async fn dropping_a_reply_closes_its_stream_and_tells_a_legacy_server() {
    for is_legacy in [false, true] {
        let (dropped, mut drops) = tokio::sync::mpsc::unbounded_channel();
        let script = move |_: &Seen| endless(dropped.clone());
        let (server, connected) = if is_legacy { legacy(script).await } else { modern(script).await };
        let mut reply = connected.upstream.call(call(Method::ToolsCall, json!({"name": "slow"})));
        let asked = tokio::select! {
            event = reply.next() => panic!("an event: {event:?}"),
            seen = server.saw(|seen| seen.method() == "tools/call") => seen,
        };
        drop(reply);
        if is_legacy {
            let cancelled = server.saw(|seen| seen.method() == "notifications/cancelled").await;
            assert_eq!(cancelled.body["params"]["requestId"], asked.body["id"]);
            assert_eq!(cancelled.header("mcp-session-id"), "first");
        } else {
            within(drops.recv()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn headers_of_the_target_are_sent_and_go_nowhere_else() {
    let other = Scripted::start(|seen| seen.discovered()).await;
    let elsewhere = other.url.clone();
    let server = Scripted::start(move |seen| match seen.header("x-move") {
        "" => seen.discovered(),
        _ => Response::builder().status(307).header("location", &elsewhere).body(Body::empty()).unwrap(),
    })
    .await;
    let with = |name: &str| {
        let headers = [(name.to_owned(), "secret".to_owned())].into();
        spec(Target::Http(HttpTarget { url: server.url.clone(), headers }), EraChoice::Auto)
    };
    let connector = HttpConnector::new(http_config());
    within(connector.connect(&with("authorization"), None)).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), "secret");
    let error = within(connector.connect(&with("x-move"), None)).await.err().unwrap();
    assert!(error.public.contains("HTTP status 307"), "{error}");
    assert!(!error.to_string().contains("secret"));
    assert!(other.seen().is_empty());
}
