//! Replies as JSON and as events, cancellation, and `subscriptions/listen`.

use super::*;
use crate::edge::double::notification;

#[tokio::test]
async fn progress_makes_a_stream_that_ends_with_the_response() {
    let node = node().await;
    let body = modern("tools/call", json!({"name": "progress", "_meta": {"progressToken": "t"}}));
    let mut events = Events::open(node.post(&body)).await;
    for n in [1, 2] {
        let message = events.message().await.unwrap();
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"], json!({"progressToken": "t", "progress": n}));
    }
    let last = events.message().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(1), &json!("complete")));
    assert_eq!(events.message().await, None);
}

#[tokio::test]
async fn closing_the_stream_cancels_the_call() {
    let node = node().await;
    let mut events = Events::open(node.post(&call("stuck"))).await;
    assert_eq!(events.message().await.unwrap()["method"], "notifications/progress");
    drop(events);
    assert_eq!(node.double.dropped().await, "stuck");
}

#[tokio::test]
async fn going_away_before_the_first_event_cancels_the_call() {
    let node = node().await;
    let body = call("forever");
    let sent = tokio::time::timeout(Duration::from_millis(300), node.post(&body).send()).await;
    assert!(sent.is_err());
    assert_eq!(node.double.dropped().await, "forever");
}

#[tokio::test]
async fn silence_becomes_a_stream_with_comments() {
    let node = node_with(|config, _| config.keep_alive = Duration::from_millis(50)).await;
    let mut events = Events::open(node.post(&call("forever"))).await;
    for _ in 0..3 {
        assert_eq!(events.block().await.unwrap(), ":");
    }
    drop(events);
    assert_eq!(node.double.dropped().await, "forever");
}

#[tokio::test]
async fn listen_carries_its_id_and_ends_gracefully() {
    let node = node_with(|config, _| config.max_listen_streams = 1).await;
    let mut body = modern("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    body["id"] = json!("sub-1");
    let mut events = Events::open(node.post(&body)).await;
    let tagged = json!({"io.modelcontextprotocol/subscriptionId": "sub-1"});
    let first = events.message().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"], json!({"notifications": {"toolsListChanged": true}, "_meta": tagged}));

    let (status, refused) = ask(node.post(&body)).await;
    assert_eq!((status, &refused["error"]["code"]), (429, &json!(42900)));

    node.double.changes.send(notification("notifications/tools/list_changed", json!({"_meta": {"x": 1}}))).unwrap();
    let change = events.message().await.unwrap();
    assert_eq!(change["params"]["_meta"], json!({"x": 1, "io.modelcontextprotocol/subscriptionId": "sub-1"}));

    node.shutdown.cancel();
    let last = events.message().await.unwrap();
    assert_eq!(last, json!({"jsonrpc": "2.0", "id": "sub-1", "result": {"resultType": "complete", "_meta": tagged}}));
    assert_eq!(events.message().await, None);
    assert_eq!(node.double.dropped().await, "listen");
}

#[tokio::test]
async fn closing_a_listen_stream_ends_the_subscription() {
    let node = node().await;
    let body = modern("subscriptions/listen", json!({"notifications": {}}));
    let mut events = Events::open(node.post(&body)).await;
    events.message().await.unwrap();
    drop(events);
    assert_eq!(node.double.dropped().await, "listen");
}
