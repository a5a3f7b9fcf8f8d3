//! A server never answers.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::{
    eventually,
    rig::{Reach, Rig},
    server::{Kind, Server},
};

const CALL_TIMEOUT: Duration = Duration::from_millis(2000);
/// How much later than its deadline a call may end on a busy machine.
const LATE: Duration = Duration::from_secs(3);

async fn never_answers(kind: Kind, reach: Reach) {
    let server = Server::new("mute", kind).await;
    let settings = format!("max_in_flight = 1\ncall_timeout_ms = {}", CALL_TIMEOUT.as_millis());
    let rig = Rig::start(reach, "", &[(&server, &settings)]).await;
    let begun = Instant::now();
    let answer = rig.client.call("mute__hang", json!({ "tag": "a" })).await;
    let took = begun.elapsed();
    answer.must_be(50400, "deadline_exceeded", "if_idempotent", "\"mute\"");
    assert!(took >= CALL_TIMEOUT && took < CALL_TIMEOUT + LATE, "{kind:?} {reach:?}: {took:?}");
    server.sees_end_of("a").await;
    // The slot is free.
    assert_eq!(rig.client.call("mute__echo", json!({ "text": "x" })).await.text(), "x");
    rig.falls_silent().await;
}

#[tokio::test]
async fn a_call_ends_with_its_deadline_and_the_server_is_told() {
    join_all(Kind::ALL.map(|kind| never_answers(kind, Reach::Here))).await;
}

#[tokio::test]
async fn a_call_to_another_node_ends_with_its_deadline_and_the_server_is_told() {
    join_all(Kind::ALL.map(|kind| never_answers(kind, Reach::Across))).await;
}

/// The node's own limit holds where the server has none.
#[tokio::test]
async fn the_nodes_limit_is_the_default() {
    let server = Server::new("mute", Kind::StdioModern).await;
    let rig = Rig::start(Reach::Here, "call_timeout_ms = 300", &[(&server, "")]).await;
    rig.client.call("mute__hang", json!({})).await.must_be(50400, "deadline_exceeded", "if_idempotent", "\"mute\"");
}

/// Servers that do not even start, or do not list, cost nobody else anything.
#[tokio::test]
async fn servers_that_never_start_delay_no_other() {
    let mut mutes = Vec::new();
    for (kind, method) in [
        (Kind::StdioModern, "server/discover"),
        (Kind::StdioLegacy, "initialize"),
        (Kind::HttpModern, "server/discover"),
        (Kind::HttpLegacy, "initialize"),
        (Kind::StdioModern, "tools/list"),
        (Kind::HttpLegacy, "tools/list"),
    ] {
        mutes.push(Server::with(&format!("mute-{}", mutes.len()), kind, &["--mute", method]).await);
    }
    let good = Server::new("good", Kind::StdioModern).await;
    let mut servers = vec![(&good, "")];
    servers.extend(mutes.iter().map(|server| (server, "")));
    for reach in Reach::BOTH {
        let rig = Rig::start_silent(reach, "start_timeout_ms = 2000", &servers).await;
        let begun = Instant::now();
        rig.answers(&good).await;
        let took = begun.elapsed();
        assert!(took < LATE, "the good server was ready after {took:?}");
        let expected = |tool: &String| tool.starts_with("good__") || tool.starts_with("context__");
        assert!(rig.client.tools().await.iter().all(expected));
        // One that does not greet in time is started again, and the state says why.
        let look = async || {
            let told = rig.home().command_json(&["servers", "--json"]).await.unwrap();
            let servers = told["servers"].as_array().unwrap();
            let one = servers.iter().find(|one| one["id"] == "mute-1").unwrap();
            one["detail"].as_str().unwrap().contains("was not ready within 2000 ms").then_some(())
        };
        eventually("the silent server is down", look).await;
        rig.answers(&good).await;
        rig.falls_silent().await;
        rig.stop().await;
    }
}
