//! A node that was just started, and has not heard of the others.

use std::{sync::atomic::Ordering, time::Duration};

use spanwire_model::{Dispatch, ErrorKind, Principal, Retry};
use spanwire_policy::Policy;

use super::{
    script::{PATIENCE, Script},
    world::{Node, Request, Setup, World, only_tools},
};

/// Hears of the others in no time, once it is connected, and gives up nobody.
fn quick(config: &mut spanwire_registry::Config) {
    (config.heartbeat, config.settle) = (Duration::from_millis(20), Duration::from_millis(1));
    (config.heartbeats_until_suspect, config.heartbeats_until_gone) = (1_000_000, 2_000_000);
}

/// Whatever `name` may be to a client: through the federated view, and the view of the server.
fn all<'a>(node: &'a Node, server: &str) -> Vec<Request<'a>> {
    let tool = |name: String| format!(r#"{{"name":"{name}","arguments":{{}}}}"#);
    let complete = |reference: String| format!(r#"{{"ref":{reference},"argument":{{"name":"a","value":"b"}}}}"#);
    vec![
        node.request("tools/call", tool(format!("{server}__echo"))),
        node.request("prompts/get", tool(format!("{server}__greet"))),
        node.request("resources/read", format!(r#"{{"uri":"{server}+file:///a"}}"#)),
        node.request("completion/complete", complete(format!(r#"{{"type":"ref/prompt","name":"{server}__greet"}}"#))),
        node.request(
            "completion/complete",
            complete(format!(r#"{{"type":"ref/resource","uri":"{server}+file:///a"}}"#)),
        ),
        node.request("tools/call", tool("echo".into())).through(server),
        node.request("server/discover", "{}").through(server),
    ]
}

#[tokio::test]
async fn a_name_that_may_be_another_nodes_is_unknown_only_when_the_others_were_heard() {
    let (world, fs) = (World::new(), Script::new("fs", &["echo"]));
    let bus = world.bus("a");
    bus.connected.store(false, Ordering::SeqCst);
    let a = world.start_on(bus.clone(), "a", Setup { registry: quick, ..Setup::of(&[]) }).await;
    let has_view = |name: &str| a.router.has_view(&Principal::anonymous(), name);
    for request in all(&a, "fs") {
        let method = request.call.method.clone();
        let error = request.outcome().await.unwrap_err();
        assert_eq!((error.kind, error.retry()), (ErrorKind::Unavailable, Retry::Safe), "{method}: {error}");
        assert!(error.public.ends_with("this node has not heard of the others yet"), "{method}: {error}");
    }
    assert!(has_view("fs") && !has_view("no server"));
    // What names no server is nobody's.
    for (method, params) in [
        ("tools/call", r#"{"name":"echo"}"#),
        ("prompts/get", r#"{"name":"echo"}"#),
        ("resources/read", r#"{"uri":"file:///a"}"#),
    ] {
        assert_eq!(a.request(method, params).outcome().await.unwrap_err().kind, ErrorKind::InvalidParams, "{method}");
    }

    // What the caller may not use is unknown, wherever it is.
    a.router.set_policy(only_tools("clerk", &["fs__read"]));
    for (name, expected) in [("fs__read", ErrorKind::Unavailable), ("fs__echo", ErrorKind::InvalidParams)] {
        assert_eq!(a.tool(name).by("clerk").outcome().await.unwrap_err().kind, expected, "{name}");
    }
    a.router.set_policy(Policy::open());

    bus.connected.store(true, Ordering::SeqCst);
    let b = world.start("b", Setup::of(&[&fs])).await;
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    for request in all(&a, "fs") {
        request.ok().await;
    }
    let settled = async {
        while !a.registry.is_settled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("it does not settle");
    for request in all(&a, "git") {
        let method = request.call.method.clone();
        assert_eq!(request.outcome().await.unwrap_err().kind, ErrorKind::InvalidParams, "{method}");
    }
    assert!(has_view("fs") && !has_view("git"));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_node_without_others_knows_at_once() {
    let world = World::new();
    let bus = world.bus("a");
    bus.connected.store(false, Ordering::SeqCst);
    let a = world.start_on(bus, "a", Setup::of(&[])).await;
    for request in all(&a, "git") {
        assert_eq!(request.outcome().await.unwrap_err().kind, ErrorKind::InvalidParams);
    }
    a.stop().await;
}
