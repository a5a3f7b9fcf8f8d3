//! A node is told to stop in mid-call.

use std::fs;

use serde_json::json;
use spanwire_tests::node::Node;

use super::{
    eventually,
    rig::{self, Reach, Rig},
    server::{Kind, Server},
};

/// Stops a node in a task of its own.
fn stop(mut node: Node) -> tokio::task::JoinHandle<Node> {
    tokio::spawn(async move {
        node.stop().await.unwrap();
        node
    })
}

/// What runs may finish; what is new finds nobody.
async fn running_calls_finish(reach: Reach) {
    let server = Server::new("slow", Kind::StdioModern).await;
    let rig = Rig::start(reach, "shutdown_timeout_ms = 10000", &[(&server, "")]).await;
    let file = server.file("release");
    let call = rig.client.begin("slow__wait", json!({ "tag": "a", "file": file }));
    server.sees("started a").await;
    let Rig { near, far, client, nats: _nats } = rig;
    let (near, stopping) = match far {
        None => (None, stop(near)),
        Some(far) => (Some(near), stop(far)),
    };
    let look = async || {
        let refused = client.try_call("slow__echo", json!({ "text": "x" })).await;
        refused.ok().is_none_or(|answer| answer.ok().is_none()).then_some(())
    };
    eventually("new calls are refused", look).await;
    fs::write(file, "").unwrap();
    assert_eq!(call.await.unwrap().text(), "released", "{reach:?}");
    stopping.await.unwrap();
    if let Some(near) = near {
        rig::falls_silent(&near).await;
    }
}

#[tokio::test]
async fn calls_that_run_may_finish() {
    running_calls_finish(Reach::Here).await;
}

#[tokio::test]
async fn calls_from_another_node_may_finish() {
    running_calls_finish(Reach::Across).await;
}

/// What does not finish in time is lost; nothing is left.
async fn hanging_calls_are_lost(reach: Reach) {
    let server = Server::new("slow", Kind::StdioModern).await;
    let rig = Rig::start(reach, "shutdown_timeout_ms = 500", &[(&server, "")]).await;
    let (client, tool) = (rig.client.clone(), server.tool("hang"));
    let call = tokio::spawn(async move { client.try_call(&tool, json!({ "tag": "a" })).await });
    server.sees("started a").await;
    let Rig { near, far, nats: _nats, .. } = rig;
    match far {
        None => {
            stop(near).await.unwrap();
            // An answer, if the node still had a connection to say it on, else the end of the connection.
            if let Ok(answer) = call.await.unwrap() {
                assert!(answer.ok().is_none(), "{}", answer.body);
            }
        }
        Some(far) => {
            stop(far).await.unwrap();
            call.await.unwrap().unwrap().must_be_lost("slow");
            rig::falls_silent(&near).await;
        }
    }
}

#[tokio::test]
async fn calls_that_do_not_finish_in_time_are_lost() {
    hanging_calls_are_lost(Reach::Here).await;
}

#[tokio::test]
async fn calls_from_another_node_that_do_not_finish_in_time_are_lost() {
    hanging_calls_are_lost(Reach::Across).await;
}
