//! A server dies in mid-call.

use futures::future::join_all;
use serde_json::json;
use spanwire_tests::node::Process;

use super::{
    eventually,
    rig::{self, Reach, Rig},
    server::{Kind, Server},
};

/// What `spanwire servers --json` says of a server of the node: its state, and how often it was started again.
async fn told(rig: &Rig, server: &Server) -> Option<(String, u64)> {
    let told = rig.home().command_json(&["servers", "--json"]).await.unwrap();
    let servers = told["servers"].as_array()?;
    let one = servers.iter().find(|one| one["id"] == server.id.as_str())?;
    Some((one["state"].as_str()?.to_owned(), one["restarts"].as_u64()?))
}

/// The server comes back by itself, once, and the call after it is right.
async fn starts_again(rig: &Rig, server: &Server, before: &[Process]) {
    let look = async || (told(rig, server).await? == ("ready".to_owned(), 1)).then_some(());
    eventually(&format!("{:?} server was started again once", server.kind), look).await;
    rig.answers(server).await;
    rig::gone(before).await;
    let (was, is) = (before.len(), rig.home().tree().len());
    assert_eq!(was, is, "{:?}: {before:?} became {:?}", server.kind, rig.home().tree());
    let restarts = rig.home().metric("spanwire_server_restarts_total", &[&server.id]).await.unwrap();
    assert!((restarts - 1.0).abs() < 0.1, "{restarts} restarts in the metrics");
}

async fn stdio_dies(kind: Kind, reach: Reach) {
    let server = Server::new("doomed", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 2")]).await;
    let before = rig.home().tree();
    let pid = rig.client.call("doomed__pid", json!({})).await.text().parse().unwrap();
    let call = rig.client.begin("doomed__hang", json!({ "tag": "a" }));
    server.sees("started a").await;
    rig::kill(rig.home(), pid);
    call.await.unwrap().must_be_lost("doomed");
    starts_again(&rig, &server, &before).await;
    rig.falls_silent().await;
    rig.stop().await;
}

async fn http_dies(kind: Kind, reach: Reach) {
    let mut server = Server::new("doomed", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 2")]).await;
    let call = rig.client.begin("doomed__hang", json!({ "tag": "a" }));
    server.sees("started a").await;
    server.kill().await;
    call.await.unwrap().must_be_lost("doomed");
    rig.client.call("doomed__echo", json!({ "text": "x" })).await.must_be_unavailable("doomed");
    server.restart().await;
    rig.answers(&server).await;
    rig.falls_silent().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_call_is_lost_with_the_server_process() {
    join_all([Kind::StdioModern, Kind::StdioLegacy].map(|kind| stdio_dies(kind, Reach::Here))).await;
}

#[tokio::test]
async fn a_call_is_lost_with_the_server_process_of_another_node() {
    join_all([Kind::StdioModern, Kind::StdioLegacy].map(|kind| stdio_dies(kind, Reach::Across))).await;
}

#[tokio::test]
async fn a_call_is_lost_with_the_server_behind_http() {
    join_all([Kind::HttpModern, Kind::HttpLegacy].map(|kind| http_dies(kind, Reach::Here))).await;
}

#[tokio::test]
async fn a_call_is_lost_with_the_server_behind_http_of_another_node() {
    join_all([Kind::HttpModern, Kind::HttpLegacy].map(|kind| http_dies(kind, Reach::Across))).await;
}

#[tokio::test]
async fn a_stream_that_has_begun_ends_with_the_error() {
    for reach in Reach::BOTH {
        let server = Server::new("doomed", Kind::StdioModern).await;
        let rig = Rig::start(reach, "", &[(&server, "")]).await;
        let pid = rig.client.call("doomed__pid", json!({})).await.text().parse().unwrap();
        let client = rig.client.clone();
        let call = tokio::spawn(async move { client.call_with_progress("doomed__hang", json!({ "tag": "a" })).await });
        server.sees("started a").await;
        rig::kill(rig.home(), pid);
        let answer = call.await.unwrap();
        answer.must_be_lost("doomed");
        // Progress may have been overtaken by the end of the server, but not by anything else.
        assert!(answer.events.iter().all(|event| event["params"]["progressToken"] == "p"), "{:?}", answer.events);
        rig.falls_silent().await;
    }
}

/// The server ends by itself in mid-call: the error says how.
#[tokio::test]
async fn a_server_that_exits_is_named_with_its_status() {
    let server = Server::new("doomed", Kind::StdioModern).await;
    let rig = Rig::start(Reach::Here, "", &[(&server, "")]).await;
    let before = rig.home().tree();
    let answer = rig.client.call("doomed__exit", json!({})).await;
    answer.must_be_lost("doomed");
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("exited with status 3"), "{message}");
    starts_again(&rig, &server, &before).await;
}

/// Even when its guard is killed, a server does not outlive its connection.
#[tokio::test]
async fn a_server_without_its_guard_ends_too() {
    let server = Server::new("doomed", Kind::StdioModern).await;
    let rig = Rig::start(Reach::Here, "", &[(&server, "")]).await;
    let before = rig.home().tree();
    let call = rig.client.begin("doomed__hang", json!({ "tag": "a" }));
    server.sees("started a").await;
    let guard = before.iter().find(|process| process.command.contains(" guard ")).unwrap();
    guard.kill();
    call.await.unwrap().must_be_lost("doomed");
    starts_again(&rig, &server, &before).await;
    rig.falls_silent().await;
    rig.stop().await;
}

/// A grandchild in a session of its own goes with the server that made it.
#[tokio::test]
async fn what_a_server_leaves_behind_ends_with_it() {
    let server = Server::new("doomed", Kind::StdioLegacy).await;
    let rig = Rig::start(Reach::Here, "", &[(&server, "")]).await;
    let before = rig.home().tree();
    rig.client.call("doomed__spawn", json!({})).await.text();
    let with_escapee = rig.home().tree();
    assert!(with_escapee.iter().any(|process| process.command.contains("sleep 600")), "{with_escapee:?}");
    assert!(rig.client.call("doomed__exit", json!({})).await.ok().is_none());
    rig::gone(&with_escapee).await;
    starts_again(&rig, &server, &before).await;
}

/// Calls that waited for the slot of the dead server were not executed, and are told so.
#[tokio::test]
async fn calls_that_waited_are_safe_to_repeat() {
    for reach in Reach::BOTH {
        let server = Server::new("doomed", Kind::StdioModern).await;
        let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 1")]).await;
        let pid = rig.client.call("doomed__pid", json!({})).await.text().parse().unwrap();
        let running = rig.client.begin("doomed__hang", json!({ "tag": "a" }));
        server.sees("started a").await;
        let waiting: Vec<_> = (0..5).map(|_| rig.client.begin("doomed__echo", json!({ "text": "w" }))).collect();
        let look = async || (rig.near.metric("spanwire_calls_in_flight", &[]).await.unwrap() > 5.5).then_some(());
        eventually("all calls are in flight", look).await;
        rig::kill(rig.home(), pid);
        running.await.unwrap().must_be_lost("doomed");
        for call in waiting {
            let answer = call.await.unwrap();
            match answer.ok() {
                Some(text) => assert_eq!(text, "w"),
                None => answer.must_be_unavailable("doomed"),
            }
        }
        rig.answers(&server).await;
        rig.falls_silent().await;
    }
}
