//! Servers that have only HTTP+SSE, the transport of 2024-11-05: a scripted one whose every byte is known, and real ones.

use std::sync::{Arc, Mutex};

use axum::{http::StatusCode, response::Response};
use spanwire_model::{ErrorKind, Notice};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    scripted::{Scripted, Seen, live, respond, status},
    *,
};

/// The ends of the open event streams, the newest last.
type Streams = Arc<Mutex<Vec<UnboundedSender<String>>>>;

/// A server whose stream names `address` and which answers by the script, on the stream.
async fn old(
    address: &'static str,
    script: impl Fn(&Seen) -> Option<serde_json::Value> + Send + Sync + 'static,
) -> (Scripted, Streams) {
    let streams = Streams::default();
    let ends = streams.clone();
    let server = Scripted::start_raw(move |seen| match (seen.verb.as_str(), seen.path.as_str()) {
        ("GET", "/mcp") => {
            let (end, receiver) = unbounded_channel();
            end.send(format!(": hello\r\n\r\nevent: endpoint\r\ndata: {address}\r\n\r\n")).unwrap();
            ends.lock().unwrap().push(end);
            live(receiver)
        }
        ("POST", "/message?s=1") => {
            let answer = match seen.method() {
                "initialize" => Some(json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "old", "version": "1"}})),
                _ => script(seen),
            };
            if let Some(result) = answer {
                let message = json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": result});
                say(&ends, &message);
            }
            respond(202, "text/plain", "Accepted")
        }
        _ => respond(404, "text/html", "<pre>Cannot POST /mcp</pre>"),
    })
    .await;
    (server, streams)
}

fn say(streams: &Streams, message: &serde_json::Value) {
    let _ = streams.lock().unwrap().last().unwrap().send(format!("event: message\ndata: {message}\n\n"));
}

#[tokio::test]
async fn a_server_that_has_only_the_old_transport_is_reached() {
    let (server, streams) = old("/message?s=1", |seen| match seen.body["params"]["name"].as_str() {
        Some("silent") => None,
        _ => Some(json!({"content": []})),
    })
    .await;
    let connected = reach(&server.url).await.unwrap();
    assert_eq!((connected.facts.era(), connected.facts.revision.as_str()), (Era::Legacy, "2024-11-05"));

    let params = json!({"name": "a", "arguments": {}, "_meta": {"progressToken": "t", "own": 1}});
    let mut reply = connected.upstream.call(call(Method::ToolsCall, params));
    let Some(Event::Done(Ok(result))) = within(reply.next()).await else { panic!("no result") };
    assert_eq!(result.as_str(), r#"{"resultType":"complete","content":[]}"#);

    // Every message, byte for byte, and where it went.
    let seen = server.seen();
    let lines: Vec<String> = seen.iter().map(|seen| format!("{} {} {}", seen.verb, seen.path, seen.raw)).collect();
    assert!(lines[0].starts_with(r#"POST /mcp {"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"#));
    let initialize = r#"{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}}},"clientInfo":{"name":"suite","version":"1"}}}"#;
    assert_eq!(lines[1], format!("POST /mcp {initialize}"));
    assert_eq!(lines[2], "GET /mcp ");
    assert_eq!(lines[3], format!("POST /message?s=1 {}", initialize.replacen("\"id\":2", "\"id\":1", 1)));
    assert_eq!(lines[4], r#"POST /message?s=1 {"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(
        lines[5],
        r#"POST /message?s=1 {"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"_meta":{"own":1,"progressToken":2},"arguments":{},"name":"a"}}"#
    );
    assert_eq!(lines.len(), 6);
    assert_eq!(seen[2].header("accept"), "text/event-stream");
    assert_eq!(seen[3].header("mcp-protocol-version"), "");
    assert_eq!(seen[5].header("mcp-protocol-version"), "2024-11-05");

    // Progress finds its call, a change its owner, and a question of the server gets an answer.
    let params = json!({"name": "silent", "_meta": {"progressToken": "t"}});
    let mut reply = connected.upstream.call(call(Method::ToolsCall, params));
    let asked = tokio::select! {
        event = reply.next() => panic!("{event:?}"),
        seen = server.saw(|seen| seen.body["params"]["name"] == "silent") => seen,
    };
    say(
        &streams,
        &json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": asked.body["id"], "progress": 1}}),
    );
    let Some(Event::Progress(progress)) = within(reply.next()).await else { panic!("no progress") };
    assert_eq!(progress.params.unwrap().as_str(), r#"{"progress":1,"progressToken":"t"}"#);
    say(&streams, &json!({"jsonrpc": "2.0", "id": "q", "method": "ping"}));
    let pong = server.saw(|seen| seen.body["id"] == "q").await;
    assert_eq!((pong.path.as_str(), pong.raw.as_str()), ("/message?s=1", r#"{"jsonrpc":"2.0","id":"q","result":{}}"#));
    let mut notices = connected.notices;
    say(&streams, &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    assert_eq!(within(notices.recv()).await, Some(Notice::ToolsChanged));

    // A reply that nobody wants any more is cancelled in the old way.
    drop(reply);
    let cancelled = server.saw(|seen| seen.method() == "notifications/cancelled").await;
    assert_eq!(cancelled.body["params"], json!({"requestId": asked.body["id"]}));

    // The stream is the connection.
    let mut reply = connected.upstream.call(call(Method::ToolsCall, json!({"name": "silent"})));
    tokio::select! {
        event = reply.next() => panic!("{event:?}"),
        _ = server.saw(|seen| seen.raw.contains("\"id\":4")) => {}
    }
    streams.lock().unwrap().clear();
    let Some(Event::Done(Err(error))) = within(reply.next()).await else { panic!("no error") };
    let text = "server \"under-test\" closed its event stream";
    assert_eq!((error.kind, &*error.public), (ErrorKind::StreamLost, &*format!("{text} during tools/call")));
    assert_eq!(within(notices.recv()).await, Some(Notice::Closed(text.into())));
    let error = within(connected.upstream.call(call(Method::ToolsList, json!({}))).outcome()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_address_must_be_of_the_same_origin() {
    let elsewhere = Scripted::start_raw(|_| status(StatusCode::OK)).await;
    let address: &'static str = elsewhere.url.clone().leak();
    for address in [address, "//evil.example/message", "data:,x"] {
        let (server, _) = old(address, |_| None).await;
        let error = reach(&server.url).await.err().unwrap();
        assert!(error.public.contains("named an address of another origin"), "{error}");
        // What was meant first is told, too.
        assert!(
            error.public.contains("HTTP status 404 and \"<pre>Cannot POST /mcp</pre>\" during initialize"),
            "{error}"
        );
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn what_is_no_event_stream_of_2024() {
    let check = |answer: fn() -> Response, expected: &'static str| async move {
        let server = Scripted::start_raw(move |seen| match seen.verb.as_str() {
            "GET" => answer(),
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        })
        .await;
        let error = reach(&server.url).await.err().unwrap();
        assert!(error.public.contains("HTTP status 405") && error.public.contains(expected), "{error}");
    };
    check(|| status(StatusCode::NOT_FOUND), "HTTP status 404 during the event stream").await;
    check(|| respond(200, "text/html", "<h1>"), "HTTP status 200 and \"<h1>\"").await;
    check(|| respond(200, "text/event-stream", "event: message\ndata: {}\n\n"), "did not begin with the event").await;
    check(|| respond(200, "text/event-stream", ": bye\n\n"), "ended its reply without a response").await;
    let huge = || respond(200, "text/event-stream", &format!("event: endpoint\ndata: /{}\n\n", "x".repeat(9000)));
    check(huge, "an address that is too long").await;
}

#[tokio::test]
async fn a_stream_that_names_no_address_is_not_waited_for() {
    let ends = Streams::default();
    let kept = ends.clone();
    let server = Scripted::start_raw(move |seen| match seen.verb.as_str() {
        "GET" => {
            let (end, receiver) = unbounded_channel();
            kept.lock().unwrap().push(end);
            live(receiver)
        }
        _ => status(StatusCode::BAD_REQUEST),
    })
    .await;
    let mut config = http_config();
    config.control_timeout = Duration::from_millis(200);
    let error = within(HttpConnector::new(config).connect(&endpoint(&server.url), None)).await.err().unwrap();
    assert!(error.public.contains("named no address within 200 ms"), "{error}");
}

#[tokio::test]
async fn a_server_that_has_forgotten_its_stream_has_lost_the_session() {
    // The address is answered with 404 from the beginning: `initialize` cannot be posted.
    let (server, _streams) = old("/gone", |_| None).await;
    let error = reach(&server.url).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::SessionGone, "{error}");
}

#[tokio::test]
async fn a_modern_server_is_never_taken_for_an_old_one() {
    let server = Scripted::start_raw(|_| status(StatusCode::NOT_FOUND)).await;
    let modern = ServerSpec { era: EraChoice::Modern, ..endpoint(&server.url) };
    assert!(within(HttpConnector::new(http_config()).connect(&modern, None)).await.is_err());
    assert!(server.seen().iter().all(|seen| seen.verb == "POST"));
}

#[tokio::test]
async fn a_message_above_the_bound_ends_the_connection() {
    let (server, streams) = old("/message?s=1", |_| None).await;
    let mut config = http_config();
    config.max_body_bytes = 10_000;
    let mut connected = within(HttpConnector::new(config).connect(&endpoint(&server.url), None)).await.unwrap();
    let _ = streams.lock().unwrap().last().unwrap().send(format!("data: {}", "x".repeat(30_000)));
    let Some(Notice::Closed(reason)) = within(connected.notices.recv()).await else { panic!("not closed") };
    assert!(reason.contains("sent a message above 10000 bytes"), "{reason}");
}

/// A real server at `/sse`, called, with progress, cancelled by nobody, and stopped.
async fn works(peer: &Peer, tool: &str, arguments: serde_json::Value, expected: &str) -> Connected {
    let connected = reach(&peer.url.replace("/mcp", "/sse")).await.unwrap();
    assert_eq!(connected.facts.era(), Era::Legacy);
    let result = ask(&connected, Method::ToolsCall, json!({"name": tool, "arguments": arguments})).await.unwrap();
    assert!(result.as_str().contains(expected), "{result:?}");
    connected
}

#[tokio::test]
async fn the_everything_server_works_over_the_old_transport() {
    let Some(peer) = Peer::everything("sse") else { return };
    let connected = works(&peer, "echo", json!({"message": "hi"}), "Echo: hi").await;
    let long = json!({"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 3},
        "_meta": {"progressToken": 5}});
    let events = events(connected.upstream.call(call(Method::ToolsCall, long))).await;
    assert!(events.iter().any(|event| matches!(event, Event::Progress(_))), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Done(Ok(_)))), "{events:?}");
    within(connected.upstream.close()).await;
}

#[tokio::test]
async fn a_python_server_works_over_the_old_transport() {
    let Some(mut peer) = Peer::python("sse_app") else { return };
    let mut connected = works(&peer, "add", json!({"a": 2, "b": 3}), "\"5\"").await;
    peer.child.kill().unwrap();
    let closed = async {
        loop {
            if let Some(Notice::Closed(reason)) = connected.notices.recv().await {
                return reason;
            }
        }
    };
    assert!(within(closed).await.starts_with("server \"under-test\""));
}
