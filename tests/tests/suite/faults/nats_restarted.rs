//! NATS dies, and comes back.

use std::{fs, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{
    client::Answer,
    eventually,
    rig::{Reach, Rig},
    server::{Kind, Server},
};

/// Longest that "at once" may take on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn rig(server: &Server, local: &Server) -> Rig {
    // A server of the near node: its calls do not need the bus.
    let mut rig = Rig::start(Reach::Across, "call_timeout_ms = 14000", &[(server, "")]).await;
    let bare = super::rig::sections(rig.nats.as_ref(), "call_timeout_ms = 14000");
    rig.near = spanwire_tests::node::Node::start(&format!("{bare}\n{}", local.config(""))).await.unwrap();
    rig.client = super::client::Client::new(rig.near.mcp_url(""));
    rig.answers(server).await;
    rig.answers(local).await;
    rig
}

/// A call to another node has one of two outcomes when the bus was away: right, or lost.
fn must_be_right_or_lost(answer: &Answer, server: &str) {
    match answer.ok() {
        Some(text) => assert_eq!(text, "released"),
        None => answer.must_be_lost(server),
    }
}

async fn is_whole_again(rig: &Rig, server: &Server, local: &Server) {
    rig.answers(server).await;
    rig.answers(local).await;
    let ids = [rig.near.id().to_owned(), rig.home().id().to_owned()];
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    rig.near.wait_nodes(&ids).await.unwrap();
    rig.home().wait_nodes(&ids).await.unwrap();
    let look = async || {
        let theirs = super::client::Client::new(rig.home().mcp_url(""));
        (theirs.tools().await == rig.client.tools().await).then_some(())
    };
    eventually("both nodes list the same", look).await;
    rig.falls_silent().await;
}

#[tokio::test]
async fn a_short_absence_costs_at_most_the_calls_that_were_on_the_bus() {
    let (server, local) =
        (Server::new("remote", Kind::StdioModern).await, Server::new("local", Kind::StdioModern).await);
    let mut rig = rig(&server, &local).await;
    let file = server.file("release");
    let call = rig.client.begin("remote__wait", json!({ "tag": "a", "file": file }));
    server.sees("started a").await;
    rig.nats.as_mut().unwrap().kill();
    let look = async || {
        let answer = rig.client.call("remote__echo", json!({ "text": "x" })).await;
        // The very first one may have left before the connection was known to be gone.
        (answer.ok().is_none() && answer.condition().kind != "stream_lost").then_some(answer)
    };
    eventually("the near node notices", look).await.must_be_unavailable("remote");
    rig.nats.as_mut().unwrap().restart().await.unwrap();
    rig.answers(&server).await;
    fs::write(file, "").unwrap();
    must_be_right_or_lost(&call.await.unwrap(), "remote");
    is_whole_again(&rig, &server, &local).await;
}

#[tokio::test]
async fn a_long_absence_loses_the_call_and_refuses_new_ones_at_once() {
    let (server, local) =
        (Server::new("remote", Kind::StdioModern).await, Server::new("local", Kind::StdioModern).await);
    let mut rig = rig(&server, &local).await;
    let call = rig.client.begin("remote__hang", json!({ "tag": "a" }));
    server.sees("started a").await;
    rig.nats.as_mut().unwrap().kill();
    let mut refused = 0;
    while !call.is_finished() {
        // Calls on one node do not notice.
        assert_eq!(rig.client.call("local__echo", json!({ "text": "y" })).await.text(), "y");
        let begun = Instant::now();
        let answer = rig.client.call("remote__echo", json!({ "text": "x" })).await;
        let took = begun.elapsed();
        // The very first one may have left before the connection was known to be gone.
        if answer.condition().kind == "stream_lost" {
            assert_eq!(refused, 0, "{}", answer.body);
            continue;
        }
        answer.must_be_unavailable("remote");
        assert!(took < AT_ONCE, "refused after {took:?}");
        refused += 1;
    }
    assert!(refused > 0, "nothing was refused");
    call.await.unwrap().must_be_lost("remote");
    // The node that has the server notices too that nobody waits any more.
    server.sees_end_of("a").await;
    rig.falls_silent().await;
    rig.nats.as_mut().unwrap().restart().await.unwrap();
    is_whole_again(&rig, &server, &local).await;
    rig.stop().await;
}
