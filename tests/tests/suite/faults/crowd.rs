//! More calls than a server, or a node, takes at once.

use futures::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    client::Answer,
    eventually,
    rig::{Reach, Rig},
    server::{Kind, Server},
};

const CROWD: usize = 200;

async fn one_at_a_time(kind: Kind, reach: Reach) {
    let server = Server::new("single", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 1")]).await;
    let calls = (0..CROWD).map(|n| rig.client.call("single__busy", json!({ "n": n, "ms": 5 })));
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.text(), n.to_string(), "{kind:?} {reach:?}");
    }
    assert_eq!(rig.client.call("single__peak", json!({})).await.text(), "1", "{kind:?} {reach:?}");
    rig.falls_silent().await;
}

#[tokio::test]
async fn each_of_two_hundred_gets_its_own_answer() {
    join_all([Kind::StdioModern, Kind::HttpModern].map(|kind| one_at_a_time(kind, Reach::Here))).await;
}

#[tokio::test]
async fn each_of_two_hundred_gets_its_own_answer_across_nats() {
    join_all([Kind::StdioModern, Kind::HttpLegacy].map(|kind| one_at_a_time(kind, Reach::Across))).await;
}

/// Who does not get a slot before the deadline is told that the server is busy, not that it is slow.
async fn surplus(reach: Reach) {
    let server = Server::new("single", Kind::StdioModern).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 1\ncall_timeout_ms = 1000")]).await;
    let calls = (0..20).map(|n| rig.client.call("single__busy", json!({ "n": n, "ms": 200 })));
    let (mut right, mut busy, mut late) = (0, 0, 0);
    for (n, answer) in join_all(calls).await.into_iter().enumerate() {
        match (answer.ok(), answer.status) {
            (Some(text), 200) => {
                assert_eq!(text, n.to_string());
                right += 1;
            }
            (None, 429) => {
                answer.must_be(42900, "overloaded", "safe", "\"single\"");
                busy += 1;
            }
            _ => {
                // It had the slot when time ran out.
                answer.must_be(50400, "deadline_exceeded", "if_idempotent", "\"single\"");
                late += 1;
            }
        }
    }
    assert!(right >= 1 && busy >= 10, "{reach:?}: {right} right, {busy} busy, {late} late");
    // A call that ran out of time is cancelled and gives its slot back; the server may still be ending it when the next one comes,
    // since a cancellation has no answer.
    let most = if late > 0 { 2 } else { 1 };
    let peak: usize = rig.client.call("single__peak", json!({})).await.text().parse().unwrap();
    assert!(peak <= most, "{reach:?}: {peak} at once, {late} late");
    rig.falls_silent().await;
}

#[tokio::test]
async fn the_surplus_is_told_that_the_server_is_busy() {
    join_all(Reach::BOTH.map(surplus)).await;
}

/// A node refuses at once what is above its own limit.
#[tokio::test]
async fn a_node_refuses_what_is_above_its_limit() {
    let server = Server::new("slow", Kind::StdioModern).await;
    let rig = Rig::start(Reach::Here, "max_in_flight_total = 10", &[(&server, "")]).await;
    let file = server.file("release");
    let wait = json!({ "file": file });
    let running: Vec<JoinHandle<Answer>> = (0..10).map(|_| rig.client.begin("slow__wait", wait.clone())).collect();
    let look = async || (rig.near.metric("spanwire_calls_in_flight", &[]).await.unwrap() > 9.5).then_some(());
    eventually("ten calls run", look).await;
    for answer in join_all((0..20).map(|_| rig.client.call("slow__echo", json!({ "text": "x" })))).await {
        answer.must_be(42900, "overloaded", "safe", "10 calls in flight");
        assert_eq!(answer.status, 429);
    }
    std::fs::write(file, "").unwrap();
    for call in running {
        assert_eq!(call.await.unwrap().text(), "released");
    }
    rig.answers(&server).await;
    rig.falls_silent().await;
}
