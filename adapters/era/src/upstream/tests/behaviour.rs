//! What a connected server looks like.

use spanwire_mcp::{Request, RequestId};
use spanwire_model::{ErrorKind, Notice};

use super::*;

async fn acknowledged(reply: &mut Reply) -> String {
    match next(reply).await {
        Event::Notification(first) if first.method == Method::SubscriptionAcknowledged => {
            first.params.unwrap().as_str().to_owned()
        }
        other => panic!("no acknowledgement: {other:?}"),
    }
}

#[tokio::test]
async fn discover_is_answered_from_the_handshake() {
    let server = legacy(r#"{"tools":{}}"#, |_| None);
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let result = connected.upstream.call(call(Method::Discover, "{}")).outcome().await.unwrap();
    let expected = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"be kind","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"old"}}}"#;
    assert_eq!(result.as_str(), expected);
    assert_eq!(server.count("server/discover"), 1, "only the probe reached the server");
}

#[tokio::test]
async fn the_level_of_a_call_is_set_once_at_a_legacy_server() {
    let server = legacy(r#"{"logging":{}}"#, |_| Some(Ok(json("{}"))));
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let at = |level: &str| {
        let params = format!(r#"{{"name":"a","_meta":{{"io.modelcontextprotocol/logLevel":"{level}"}}}}"#);
        connected.upstream.call(call(Method::ToolsCall, &params)).outcome()
    };
    for level in ["info", "info", "error"] {
        at(level).await.unwrap();
    }
    assert_eq!(server.count("logging/setLevel"), 2);
    assert_eq!(server.count(r#"tools/call {"name":"a"}"#), 3);
    assert_eq!(at("loud").await.unwrap_err().kind, ErrorKind::InvalidParams);
    server.unasked().send(Unasked::SessionRenewed).await.unwrap();
    server.notify(Method::ToolsListChanged, "{}").await;
    let mut notices = connected.notices;
    notices.recv().await.unwrap();
    let params = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"error"}}"#;
    connected.upstream.call(call(Method::ToolsCall, params)).outcome().await.unwrap();
    assert_eq!(server.count("logging/setLevel"), 3, "a new session forgets the level");
}

#[tokio::test]
async fn log_messages_go_to_the_only_call_in_flight() {
    let server = legacy(r#"{"logging":{}}"#, |request| match request.method {
        Method::SetLevel => Some(Ok(json("{}"))),
        _ => None,
    });
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let params = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"info"}}"#;
    let mut first = connected.upstream.call(call(Method::ToolsCall, params));
    assert!(futures::poll!(futures::StreamExt::next(&mut first)).is_pending());
    server.notify(Method::LogMessage, r#"{"level":"error","data":"alone"}"#).await;
    assert!(
        matches!(next(&mut first).await, Event::Notification(log) if log.params.as_ref().unwrap().as_str().contains("alone"))
    );
    let mut second = connected.upstream.call(call(Method::ToolsCall, params));
    assert!(futures::poll!(futures::StreamExt::next(&mut second)).is_pending());
    server.notify(Method::LogMessage, r#"{"level":"error","data":"whose?"}"#).await;
    assert!(futures::poll!(futures::StreamExt::next(&mut first)).is_pending());
    assert!(futures::poll!(futures::StreamExt::next(&mut second)).is_pending());
    drop(second);
    server.notify(Method::LogMessage, r#"{"level":"error","data":"perhaps of the cancelled one"}"#).await;
    assert!(futures::poll!(futures::StreamExt::next(&mut first)).is_pending());
}

#[tokio::test]
async fn progress_carries_the_token_of_its_caller() {
    for server in [legacy("{}", |_| None), modern("{}", |_| None)] {
        let connected = server.connect(EraChoice::Auto).await.unwrap();
        let mut reply = connected.upstream.call(call(Method::ToolsCall, r#"{"_meta":{"progressToken":"same"}}"#));
        let mut other =
            connected.upstream.call(call(Method::ToolsCall, r#"{"name":"x","_meta":{"progressToken":"same"}}"#));
        assert!(futures::poll!(futures::StreamExt::next(&mut reply)).is_pending());
        assert!(futures::poll!(futures::StreamExt::next(&mut other)).is_pending());
        let sent = server.saw("tools/call").await;
        let token = sent.split("\"progressToken\":").nth(1).unwrap().trim_end_matches('}');
        let token: String = token.chars().take_while(char::is_ascii_digit).collect();
        server.notify(Method::Progress, &format!(r#"{{"progressToken":{token},"progress":1}}"#)).await;
        let Event::Progress(progress) = next(&mut reply).await else { panic!("no progress") };
        assert_eq!(progress.params.unwrap().as_str(), r#"{"progressToken":"same","progress":1}"#);
        assert!(futures::poll!(futures::StreamExt::next(&mut other)).is_pending());
    }
}

#[tokio::test]
async fn listeners_of_a_legacy_server_share_its_subscriptions() {
    let capabilities = r#"{"resources":{"subscribe":true},"tools":{"listChanged":true}}"#;
    let server = legacy(capabilities, |_| Some(Ok(json("{}"))));
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let listen =
        |filter: &str| connected.upstream.call(call(Method::Listen, &format!(r#"{{"notifications":{filter}}}"#)));
    let mut one = listen(r#"{"resourceSubscriptions":["f:///a"],"toolsListChanged":true,"promptsListChanged":true}"#);
    let honoured = r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["f:///a"]}}"#;
    assert_eq!(acknowledged(&mut one).await, honoured);
    let mut two = listen(r#"{"resourceSubscriptions":["f:///a","f:///b"]}"#);
    acknowledged(&mut two).await;
    server.saw(r#"resources/subscribe {"uri":"f:///a"}"#).await;
    server.saw(r#"resources/subscribe {"uri":"f:///b"}"#).await;
    assert_eq!(server.count("resources/subscribe"), 2);

    server.notify(Method::ResourceUpdated, r#"{"uri":"f:///a/part"}"#).await;
    for reply in [&mut one, &mut two] {
        let Event::Notification(updated) = next(reply).await else { panic!("no update") };
        assert_eq!(updated.params.unwrap().as_str(), r#"{"uri":"f:///a/part"}"#);
    }
    server.notify(Method::ToolsListChanged, "{}").await;
    assert!(matches!(next(&mut one).await, Event::Notification(changed) if changed.method == Method::ToolsListChanged));

    drop(two);
    server.saw(r#"resources/unsubscribe {"uri":"f:///b"}"#).await;
    assert_eq!(server.count(r#"resources/unsubscribe {"uri":"f:///a"}"#), 0, "one listener is left");
    server.unasked().send(Unasked::SessionRenewed).await.unwrap();
    let again = tokio::time::timeout(LONG, async {
        while server.count(r#"resources/subscribe {"uri":"f:///a"}"#) < 2 {
            tokio::task::yield_now().await;
        }
    });
    again.await.unwrap();
    drop(one);
    server.saw(r#"resources/unsubscribe {"uri":"f:///a"}"#).await;
}

#[tokio::test]
async fn list_changes_of_a_modern_server_come_on_its_own_stream() {
    let server = modern(r#"{"tools":{"listChanged":true},"prompts":{}}"#, |_| None);
    let mut connected = server.connect(EraChoice::Auto).await.unwrap();
    let sent = server.saw("subscriptions/listen").await;
    assert!(sent.contains(r#""notifications":{"toolsListChanged":true}"#), "{sent}");
    let changed = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":2}}"#;
    server.notify(Method::ToolsListChanged, changed).await;
    assert_eq!(connected.notices.recv().await, Some(Notice::ToolsChanged));
}

#[tokio::test]
async fn a_listener_of_a_modern_server_sees_no_subscription_id() {
    let server = modern("{}", |_| None);
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let mut reply = connected.upstream.call(call(Method::Listen, r#"{"notifications":{"toolsListChanged":true}}"#));
    assert!(futures::poll!(futures::StreamExt::next(&mut reply)).is_pending());
    let id = r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":2},"notifications":{}}"#;
    server.notify(Method::SubscriptionAcknowledged, id).await;
    assert_eq!(acknowledged(&mut reply).await, r#"{"notifications":{}}"#);
    server.notify(Method::Cancelled, r#"{"requestId":2}"#).await;
    assert!(matches!(next(&mut reply).await, Event::Done(Ok(_))), "the server tore it down");
}

#[tokio::test]
async fn dropping_a_reply_cancels_it() {
    for server in [legacy("{}", |_| None), modern("{}", |_| None)] {
        let connected = server.connect(EraChoice::Auto).await.unwrap();
        let mut reply = connected.upstream.call(call(Method::ToolsCall, "{}"));
        assert!(futures::poll!(futures::StreamExt::next(&mut reply)).is_pending());
        drop(reply);
        server.saw("-tools/call").await;
        assert!(server.calls.is_empty());
    }
}

#[tokio::test]
async fn requests_of_a_legacy_server_are_answered() {
    let server = legacy("{}", |_| None);
    let _connected = server.connect(EraChoice::Auto).await.unwrap();
    let ask = |id: i64, method: Method| Unasked::Request {
        request: Request { id: RequestId::Number(id), method, params: None },
        call: None,
    };
    server.unasked().send(ask(1, Method::Ping)).await.unwrap();
    server.saw(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).await;
    server.unasked().send(ask(2, Method::SamplingCreateMessage)).await.unwrap();
    server.saw(r#""id":2,"error":{"code":-32603"#).await;
}

#[tokio::test]
async fn notices_are_merged_and_the_end_comes_last() {
    let server = legacy("{}", |_| None);
    let mut connected = server.connect(EraChoice::Auto).await.unwrap();
    for _ in 0..100 {
        server.notify(Method::PromptsListChanged, "{}").await;
    }
    server.notify(Method::ResourcesListChanged, "{}").await;
    server.unasked().send(Unasked::Closed("server \"fake\" exited".into())).await.unwrap();
    let mut seen = Vec::new();
    while let Some(notice) = connected.notices.recv().await {
        seen.push(notice);
    }
    assert!(seen.len() < 20, "{seen:?}");
    assert!(seen.contains(&Notice::ResourcesChanged));
    assert_eq!(seen.last(), Some(&Notice::Closed("server \"fake\" exited".into())));
}

#[tokio::test]
async fn a_lost_connection_ends_every_listener() {
    let server = legacy("{}", |_| None);
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let mut listener = connected.upstream.call(call(Method::Listen, "{}"));
    acknowledged(&mut listener).await;
    server.unasked().send(Unasked::Closed("server \"fake\" exited".into())).await.unwrap();
    let Event::Done(Err(error)) = next(&mut listener).await else { panic!("still listening") };
    assert_eq!(error.kind, ErrorKind::StreamLost);
    let error = connected.upstream.call(call(Method::Listen, "{}")).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}
