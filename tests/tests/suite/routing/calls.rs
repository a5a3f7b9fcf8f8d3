//! One call: here, on another node, too long, too many, given up.

use std::{sync::atomic::Ordering, time::Duration};

use futures::StreamExt;
use spanwire_mcp::Method;
use spanwire_model::{Address, Backbone, BusRequest, ErrorKind, Event, Frame, Retry, ServerSpec};
use tokio::time::{Instant, timeout};

use super::{
    script::{Connect, PATIENCE, Script, json},
    world::{Node, Setup, World, next, running},
};

/// Two nodes; the server `fs` is attached to `b` only.
async fn two(tools: &[&str]) -> (Node, Node, std::sync::Arc<Script>) {
    let fs = Script::new("fs", tools);
    let world = World::new();
    let (a, b) = (world.start("a", Setup::of(&[])).await, world.start("b", Setup::of(&[&fs])).await);
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    (a, b, fs)
}

/// Nothing is left of any call.
async fn idle(node: &Node) {
    assert_eq!(node.router.in_flight(), 0);
    assert_eq!(node.registry.in_flight(), 0);
    let quiet = async {
        while node.bus.in_flight().values().any(|count| *count > 0) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, quiet).await.unwrap();
}

#[tokio::test]
async fn a_local_call_never_touches_the_bus() {
    let (here, there) = (Script::new("fs", &["echo"]), Script::new("fs", &["echo"]));
    let world = World::new();
    let (a, b) = (world.start("a", Setup::of(&[&here])).await, world.start("b", Setup::of(&[&there])).await);
    for node in [&a, &b] {
        node.ready("fs", "a").await;
        node.ready("fs", "b").await;
    }
    for _ in 0..10 {
        a.tool("fs__echo").ok().await;
    }
    assert_eq!((here.calls_of("echo"), there.calls_of("echo")), (10, 0));
    assert_eq!(a.bus.requests.load(Ordering::SeqCst), 0);
    // The local replica is down: the other one answers, and the same the other way round once it is back.
    here.connects([Connect::Hangs]);
    here.die().await;
    a.entry("fs", "a", |entry| !entry.health.state.is_callable()).await;
    a.tool("fs__echo").ok().await;
    assert_eq!((here.calls_of("echo"), there.calls_of("echo")), (10, 1));
    idle(&a).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_call_to_another_node_comes_back_whole() {
    let (a, b, fs) = two(&["talk", "fail", "complain", "link"]).await;
    let mut reply = a.tool("fs__talk").send();
    let mut seen = Vec::new();
    loop {
        match next(&mut reply).await {
            Event::Progress(note) => seen.push(format!("{} {:?}", note.method, note.params.unwrap())),
            Event::Notification(note) => seen.push(format!("{} {:?}", note.method, note.params.unwrap())),
            Event::Done(outcome) => {
                seen.push(format!("{:?}", outcome.unwrap()));
                break;
            }
        }
    }
    let expected = [
        r#"notifications/progress {"progressToken":7,"progress":1}"#,
        r#"notifications/message {"level":"info","data":"one"}"#,
        r#"notifications/message {"level":"info","data":"two"}"#,
        r#"{"content":[]}"#,
    ];
    assert_eq!(seen, expected);
    let error = a.tool("fs__fail").outcome().await.unwrap_err();
    let near = b.tool("fs__fail").outcome().await.unwrap_err();
    assert_eq!(error, near, "an error is the same from here and from there");
    assert_eq!(
        (error.kind, error.json_rpc_code(), error.data),
        (ErrorKind::Server, -32042, Some(json(r#"{"why":"because"}"#)))
    );
    assert!(a.tool("fs__complain").ok().await.contains(r#""isError":true"#));
    assert!(a.tool("fs__link").ok().await.contains("fs+file:///a"));
    let sent = fs.seen.borrow().calls.clone();
    assert!(sent.iter().all(|call| call.trace.is_some()));
    idle(&a).await;
    idle(&b).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn one_of_the_remote_replicas_answers() {
    let (one, two) = (Script::new("fs", &["echo"]), Script::new("fs", &["echo"]));
    let world = World::new();
    let a = world.start("a", Setup::of(&[])).await;
    let (b, c) = (world.start("b", Setup::of(&[&one])).await, world.start("c", Setup::of(&[&two])).await);
    b.ready("fs", "b").await;
    c.ready("fs", "c").await;
    a.ready("fs", "b").await;
    a.ready("fs", "c").await;
    for _ in 0..10 {
        a.tool("fs__echo").ok().await;
    }
    let counts = (one.calls_of("echo"), two.calls_of("echo"));
    assert!(counts.0 > 0 && counts.1 > 0 && counts.0 + counts.1 == 10, "{counts:?}");
    b.stop().await;
    a.until("two nodes", |inventory| inventory.nodes.len() == 2).await;
    a.tool("fs__echo").ok().await;
    c.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn a_dropped_reply_drops_the_servers_reply_here_and_there() {
    let (a, b, fs) = two(&["hang"]).await;
    for (count, node) in [(1, &b), (2, &a)] {
        let mut reply = node.tool("fs__hang").send();
        tokio::select! {
            _ = reply.next() => panic!("it hangs"),
            _ = fs.until("called", |seen| seen.calls.len() == count) => {}
        }
        assert_eq!(node.router.in_flight(), 1);
        assert_eq!(b.registry.in_flight(), 1);
        assert_eq!(b.router.in_flight(), 1, "where it is executed it counts, wherever it came from");
        drop(reply);
        fs.until("cancelled", |seen| seen.cancelled == count).await;
        idle(node).await;
        idle(&b).await;
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_budget_ends_a_call_here_and_there() {
    let (a, b, fs) = two(&["hang"]).await;
    for (count, node) in [(1, &b), (2, &a)] {
        let started = Instant::now();
        let error = node.tool("fs__hang").within(Duration::from_millis(60)).outcome().await.unwrap_err();
        assert_eq!((error.kind, error.retry()), (ErrorKind::DeadlineExceeded, Retry::IfIdempotent));
        assert!(started.elapsed() >= Duration::from_millis(55));
        fs.until("cancelled", |seen| seen.cancelled == count).await;
        idle(node).await;
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_server_has_a_limit_of_its_own() {
    let fs = Script::new("fs", &["hang", "echo"]);
    let world = World::new();
    let spec = ServerSpec { call_timeout_ms: Some(50), ..fs.spec() };
    let a = world.start("a", Setup::of(&[])).await;
    let b = world.start("b", Setup { specs: vec![spec], ..Setup::of(&[&fs]) }).await;
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    for node in [&a, &b] {
        let error = node.tool("fs__hang").outcome().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{error}");
        node.tool("fs__echo").ok().await;
    }
    fs.until("cancelled", |seen| seen.cancelled == 2).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_ends_its_calls() {
    let (a, b, fs) = two(&["hang", "echo"]).await;
    let calls = [running(a.tool("fs__hang").send()), running(b.tool("fs__hang").send())];
    fs.until("called", |seen| seen.calls.len() == 2).await;
    fs.die().await;
    for call in calls {
        let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::StreamLost);
    }
    // It is back, and is called again from either side.
    b.entry("fs", "b", |entry| entry.health.restarts == 1 && entry.health.state.is_callable()).await;
    a.entry("fs", "b", |entry| entry.health.restarts == 1 && entry.health.state.is_callable()).await;
    a.tool("fs__echo").ok().await;
    b.tool("fs__echo").ok().await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_busy_server_lets_few_in_and_fewer_wait() {
    let fs = Script::new("fs", &["hang", "echo"]);
    let spec = ServerSpec { max_in_flight: Some(1), ..fs.spec() };
    let setup = Setup { registry: |config| config.max_waiting = 1, specs: vec![spec], ..Setup::of(&[&fs]) };
    let node = World::new().start("a", setup).await;
    node.ready("fs", "a").await;
    let mut first = node.tool("fs__hang").send();
    tokio::select! {
        _ = first.next() => panic!("it hangs"),
        _ = fs.until("called", |seen| seen.calls.len() == 1) => {}
    }
    // Waits until its time is over: nothing was executed.
    let error = node.tool("fs__echo").within(Duration::from_millis(40)).outcome().await.unwrap_err();
    assert_eq!((error.kind, error.retry()), (ErrorKind::Overloaded, Retry::Safe));
    let mut second = node.tool("fs__echo").send();
    assert!(futures::poll!(second.next()).is_pending());
    let error = node.tool("fs__echo").outcome().await.unwrap_err();
    assert_eq!(
        (error.kind, &*error.public),
        (ErrorKind::Overloaded, "server \"fs\" has 1 calls in flight and 1 waiting")
    );
    assert_eq!(fs.calls_of("echo"), 0);
    drop(first);
    assert!(matches!(next(&mut second).await, Event::Done(Ok(_))));
    assert_eq!(fs.calls_of("echo"), 1);
    assert_eq!(node.registry.in_flight(), 0);

    // The limit holds over a restart: a reply that nobody reads keeps its slot.
    let mut stuck = node.tool("fs__hang").send();
    tokio::select! {
        _ = stuck.next() => panic!("it hangs"),
        _ = fs.until("called", |seen| seen.calls.len() == 3) => {}
    }
    fs.die().await;
    node.entry("fs", "a", |entry| entry.health.restarts == 1 && entry.health.state.is_callable()).await;
    let error = node.tool("fs__echo").within(Duration::from_millis(40)).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    assert!(matches!(next(&mut stuck).await, Event::Done(Err(_))));
    node.tool("fs__echo").ok().await;
    node.stop().await;
}

#[tokio::test]
async fn a_busy_node_refuses_and_counts_right() {
    let fs = Script::new("fs", &["hang", "echo"]);
    let node = World::new().start("a", Setup { router: |config| config.max_in_flight = 2, ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let calls = [node.tool("fs__hang").send(), node.tool("fs__hang").send()];
    let error = node.tool("fs__echo").outcome().await.unwrap_err();
    assert_eq!((error.kind, error.http_status()), (ErrorKind::Overloaded, 429));
    drop(calls);
    // The outcome gives the place back, whether or not the reply was dropped yet.
    let mut done = [node.tool("fs__echo").send(), node.tool("fs__echo").send()];
    for reply in &mut done {
        assert!(matches!(next(reply).await, Event::Done(Ok(_))));
    }
    assert_eq!(node.router.in_flight(), 0);
    node.tool("fs__echo").ok().await;
    node.stop().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_what_runs_and_refuses_what_comes() {
    let (a, b, fs) = two(&["hang"]).await;
    let call = running(a.tool("fs__hang").send());
    fs.until("called", |seen| seen.calls.len() == 1).await;
    let router = b.router.clone();
    let mut shutdown = tokio::spawn(async move { router.shutdown(PATIENCE).await });
    timeout(PATIENCE, b.bus.serving.subscribe().wait_for(std::collections::BTreeSet::is_empty)).await.unwrap().unwrap();
    let error = b.tool("fs__hang").outcome().await.unwrap_err();
    assert_eq!((error.kind, error.retry()), (ErrorKind::Unavailable, Retry::Safe));
    assert!(!shutdown.is_finished(), "another node's call is still running here");
    call.abort();
    timeout(PATIENCE, &mut shutdown).await.unwrap().unwrap();
    assert_eq!(fs.seen.borrow().calls.len(), 1);
    a.stop().await;
    b.registry.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_budget_without_end_is_no_trouble() {
    let (_, b, _) = two(&["echo"]).await;
    let world_bus = b.bus.clone();
    let request = BusRequest {
        call_id: uuid::Uuid::now_v7(),
        principal: "anonymous".into(),
        server: Some("fs".parse().unwrap()),
        method: Method::ToolsCall.as_str().into(),
        name: Some("echo".into()),
        budget: Duration::from_secs(60),
        trace: None,
        payload: r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#.into(),
    };
    let mut frames = world_bus.request(Address::Server("fs".parse().unwrap()), request);
    assert!(matches!(timeout(PATIENCE, frames.next()).await.unwrap(), Some(Ok(Frame::End { .. }))));
    b.stop().await;
}
