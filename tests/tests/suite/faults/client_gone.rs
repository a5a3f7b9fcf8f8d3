//! A client closes its connection in mid-call.

use futures::future::join_all;
use serde_json::json;

use super::{
    eventually,
    rig::{Reach, Rig},
    server::{Kind, Server},
};

async fn client_leaves(kind: Kind, reach: Reach) {
    let server = Server::new("busy", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 1")]).await;
    let running = rig.client.begin("busy__hang", json!({ "tag": "a" }));
    server.sees("started a").await;
    // One that waits for the only slot: it leaves before it has begun.
    let waiting = rig.client.begin("busy__hang", json!({ "tag": "b" }));
    let look = async || (rig.near.metric("spanwire_calls_in_flight", &[]).await.unwrap() > 1.5).then_some(());
    eventually("both calls are in flight", look).await;
    waiting.abort();
    let look = async || (rig.near.metric("spanwire_calls_in_flight", &[]).await.unwrap() < 1.5).then_some(());
    eventually("the waiting call has left", look).await;

    running.abort();
    server.sees_end_of("a").await;
    // The slot is free: the next call is right, well within its deadline.
    assert_eq!(rig.client.call("busy__echo", json!({ "text": "next" })).await.text(), "next");
    assert!(!server.saw("started b"), "{kind:?} {reach:?}: {:?}", server.journal());
    let cancelled = rig.near.metric("spanwire_calls_cancelled_total", &[]).await.unwrap();
    assert!((cancelled - 2.0).abs() < 0.1, "{cancelled} calls are counted as cancelled");
    rig.falls_silent().await;
}

#[tokio::test]
async fn the_server_is_told_and_the_slot_is_free() {
    join_all(Kind::ALL.map(|kind| client_leaves(kind, Reach::Here))).await;
}

#[tokio::test]
async fn the_server_of_another_node_is_told_and_the_slot_is_free() {
    join_all(Kind::ALL.map(|kind| client_leaves(kind, Reach::Across))).await;
}
