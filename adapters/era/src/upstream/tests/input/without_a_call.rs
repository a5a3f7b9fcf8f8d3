//! The handshake, and requests that belong to no call.

use super::*;

#[tokio::test]
async fn a_legacy_server_is_told_everything_that_can_be_carried() {
    let peer = Peer::new(|_| {}).await;
    let sent = peer.server.saw("initialize {").await;
    let expected = r#""protocolVersion":"2025-11-25","capabilities":{"roots":{},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}}}"#;
    assert!(sent.contains(expected), "{sent}");
}

#[tokio::test]
async fn requests_outside_of_calls_have_an_answer() {
    let peer = Peer::new(|_| {}).await;
    let check = async |method: Method, call: Option<i64>, expected: &str| {
        let id = peer.server.log.borrow().len().to_string();
        peer.ask(&id, method, "{}", call).await;
        peer.server.saw(&format!(r#"{{"jsonrpc":"2.0","id":"{id}",{expected}"#)).await;
    };
    // Also on the stream of a request that the broker made itself, or that is over.
    for call in [None, Some(2), Some(77)] {
        check(Method::Ping, call, r#""result":{}}"#).await;
        check(Method::RootsList, call, r#""result":{"roots":[]}}"#).await;
        check(
            Method::ElicitationCreate,
            call,
            r#""error":{"code":-32603,"message":"elicitation/create belongs to no call"#,
        )
        .await;
        check(Method::SamplingCreateMessage, call, r#""error":{"code":-32603"#).await;
        check(Method::ToolsList, call, r#""error":{"code":-32601"#).await;
        check(Method::Other("x/y".into()), call, r#""error":{"code":-32601"#).await;
    }
}

#[tokio::test]
async fn a_ping_and_an_unknown_request_in_mid_call_are_not_for_its_caller() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (running, id) = peer.start("book", ALL).await;
        peer.ask("p", Method::Ping, "{}", on_stream.then_some(id)).await;
        peer.server.saw(r#""id":"p","result":{}"#).await;
        peer.ask("x", Method::Other("x/y".into()), "{}", on_stream.then_some(id)).await;
        peer.server.saw(r#""id":"x","error":{"code":-32601"#).await;
        peer.finish(id, RESULT);
        assert_eq!(running.outcome().await.unwrap().as_str(), COMPLETE);
    }
}

#[tokio::test]
async fn a_request_of_a_task_belongs_to_no_call() {
    let peer = Peer::new(|_| {}).await;
    let (running, id) = peer.start("book", ALL).await;
    let related = r#"{"message":"?","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;
    peer.ask("q1", Method::ElicitationCreate, related, None).await;
    peer.server.saw(r#""id":"q1","error""#).await;
    peer.finish(id, RESULT);
    assert_eq!(running.outcome().await.unwrap().as_str(), COMPLETE);
}
