//! Replies of legacy servers that break off and are taken up again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{body::Body, http::StatusCode, response::Response};
use spanwire_model::ErrorKind;

use super::{
    scripted::{Scripted, Seen, respond, status, stream},
    *,
};

fn events(text: &str) -> Response {
    respond(200, "text/event-stream", text)
}

/// Answers `tools/call` by the first script and a GET with `Last-Event-ID` by the second.
async fn breaking(
    call: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    resume: impl Fn(&str, i64) -> Response + Send + Sync + 'static,
) -> (Scripted, Connected) {
    let id = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let server = Scripted::start_raw(move |seen| match (seen.verb.as_str(), seen.method()) {
        ("GET", _) if seen.headers.contains_key("last-event-id") => {
            resume(seen.header("last-event-id"), id.load(Ordering::SeqCst))
        }
        ("GET", _) => status(StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "server/discover") => respond(400, "text/plain", "no session"),
        ("POST", "initialize") => seen.initialized("first"),
        ("POST", "tools/call") => {
            id.store(seen.body["id"].as_i64().unwrap(), Ordering::SeqCst);
            call(seen)
        }
        _ => status(StatusCode::ACCEPTED),
    })
    .await;
    let connected = reach(&server.url).await.unwrap();
    (server, connected)
}

fn resumptions(server: &Scripted) -> Vec<String> {
    let seen = server.seen();
    let resumed = seen.iter().filter(|seen| seen.headers.contains_key("last-event-id"));
    resumed
        .map(|seen| {
            let header = |name| seen.header(name);
            format!("{} {} {}", header("last-event-id"), header("mcp-session-id"), header("mcp-protocol-version"))
        })
        .collect()
}

/// SEP-1699: the server closes the stream after a priming event, more than once.
#[tokio::test]
async fn a_reply_is_taken_up_where_it_broke() {
    let heard = Arc::new(tokio::sync::Notify::new());
    let cut = heard.clone();
    let (server, connected) = breaking(
        |_| events("id: 1\nretry: 60\ndata:\n\n"),
        move |from, id| match from {
            "1" => {
                let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": id, "progress": 1}});
                // Then it breaks in the middle of an event.
                let text = format!("id: 2\nretry: 55\ndata: {progress}\n\nid: 3\ndata: {{\"json");
                let cut = cut.clone();
                let broken = futures::stream::once(async { Ok(text) }).chain(futures::stream::once(async move {
                    cut.notified().await;
                    Err(std::io::Error::other("cut"))
                }));
                stream(200, "text/event-stream", Body::from_stream(broken))
            }
            _ => {
                let response = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
                events(&format!("id: 4\ndata: {response}\n\n"))
            }
        },
    )
    .await;
    let params = json!({"name": "a", "_meta": {"progressToken": "t"}});
    let mut reply = connected.upstream.call(call(Method::ToolsCall, params));
    let first = within(reply.next()).await;
    assert!(matches!(first, Some(Event::Progress(_))), "{first:?}");
    heard.notify_one();
    let last = within(reply.next()).await;
    assert!(matches!(last, Some(Event::Done(Ok(_)))), "{last:?}");
    assert_eq!(resumptions(&server), ["1 first 2025-11-25", "2 first 2025-11-25"]);
    assert_eq!(server.seen().iter().filter(|seen| seen.method() == "tools/call").count(), 1, "it was called again");
    assert!(server.seen().iter().all(|seen| seen.method() != "notifications/cancelled"));
}

#[tokio::test]
async fn a_reply_that_cannot_be_taken_up_is_lost() {
    let primed = "id: 1\nretry: 0\ndata:\n\n";
    let check = |first: &'static str, resumed: fn() -> Response, expected: &'static str, attempts: usize| async move {
        let (server, connected) = breaking(move |_| events(first), move |_, _| resumed()).await;
        let error = ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::StreamLost, "{error}");
        assert!(error.public.contains(expected), "{error}");
        assert_eq!(resumptions(&server).len(), attempts);
    };
    check("data:\n\n", || status(StatusCode::OK), "ended its reply without a response", 0).await;
    // An empty id takes the position back.
    check("id: 1\ndata:\n\nid:\ndata:\n\n", || status(StatusCode::OK), "ended its reply", 0).await;
    check(primed, || status(StatusCode::METHOD_NOT_ALLOWED), "did not take it up again (HTTP status 405)", 1).await;
    check(primed, || status(StatusCode::NOT_FOUND), "did not take it up again (HTTP status 404)", 1).await;
    // Nothing new, again and again: the attempts are bounded.
    check(primed, || events("id: 1\nretry: 0\ndata:\n\n"), "ended its reply without a response", 5).await;
    check(primed, || status(StatusCode::SERVICE_UNAVAILABLE), "ended its reply without a response", 5).await;
}

#[tokio::test]
async fn a_reply_may_break_as_often_as_something_new_comes() {
    let count = Arc::new(AtomicUsize::new(1));
    let (server, connected) = breaking(
        |_| events("id: 1\nretry: 0\ndata:\n\n"),
        move |_, id| match count.fetch_add(1, Ordering::SeqCst) {
            n @ ..12 => events(&format!("id: next-{n}\ndata:\n\n")),
            _ => events(&format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}))),
        },
    )
    .await;
    ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap();
    assert_eq!(resumptions(&server).len(), 12);
}

#[tokio::test]
async fn a_call_is_cancelled_while_it_waits_to_be_taken_up() {
    let (server, connected) =
        breaking(|_| events("id: 1\nretry: 3600000\ndata:\n\n"), |_, _| status(StatusCode::OK)).await;
    let mut reply = connected.upstream.call(call(Method::ToolsCall, json!({"name": "a"})));
    let asked = tokio::select! {
        event = reply.next() => panic!("{event:?}"),
        seen = server.saw(|seen| seen.method() == "tools/call") => seen,
    };
    // The stream is over by now, and the server wants to be left alone for an hour.
    assert!(tokio::time::timeout(Duration::from_millis(300), reply.next()).await.is_err());
    drop(reply);
    let cancelled = server.saw(|seen| seen.method() == "notifications/cancelled").await;
    assert_eq!(cancelled.body["params"]["requestId"], asked.body["id"]);
    // A stop of the connection ends such a wait as well.
    let mut reply = connected.upstream.call(call(Method::ToolsCall, json!({"name": "b"})));
    tokio::select! {
        event = reply.next() => panic!("{event:?}"),
        _ = server.saw(|seen| seen.body["params"]["name"] == "b") => {}
    }
    within(connected.upstream.close()).await;
    let Some(Event::Done(Err(error))) = within(reply.next()).await else { panic!("no error") };
    assert_eq!(error.kind, ErrorKind::StreamLost);
    assert!(resumptions(&server).is_empty());
}

#[tokio::test]
async fn a_modern_reply_is_never_taken_up() {
    let server = Scripted::start_raw(|seen| match seen.method() {
        "server/discover" => seen.discovered(),
        _ => events("id: 1\nretry: 0\ndata:\n\n"),
    })
    .await;
    let connected = reach(&server.url).await.unwrap();
    let error = ask(&connected, Method::ToolsCall, json!({"name": "a"})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamLost);
    assert!(server.seen().iter().all(|seen| seen.verb == "POST"));
}

/// The stream for what belongs to no call may be closed on purpose as well.
#[tokio::test]
async fn the_stream_of_notices_waits_as_the_server_wants() {
    let server = Scripted::start_raw(|seen| match (seen.verb.as_str(), seen.method()) {
        ("GET", _) if seen.header("last-event-id") == "1" => {
            events("id: 2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n")
        }
        ("GET", _) => events("id: 1\nretry: 51\ndata:\n\n"),
        ("POST", "server/discover") => respond(400, "text/plain", "no session"),
        ("POST", "initialize") => seen.initialized("first"),
        _ => status(StatusCode::ACCEPTED),
    })
    .await;
    let mut connected = reach(&server.url).await.unwrap();
    assert_eq!(within(connected.notices.recv()).await, Some(spanwire_model::Notice::ToolsChanged));
}
