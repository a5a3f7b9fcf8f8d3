//! Several replicas of one server: who gets a call, and what becomes of it when that one does not take it.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, Event, NodeState, Retry, ServerSpec, TraceContext};
use spanwire_telemetry::{SpanKind, Value, names};
use tokio::time::Instant;

use super::{
    script::{Script, json},
    world::{Node, Setup, World, next, running},
};

/// A node without servers, and two others with a replica of `fs` each.
struct Three {
    world: World,
    a: Node,
    replicas: [(Node, Arc<Script>); 2],
}

impl Three {
    async fn start(tools: &[&str]) -> Self {
        Self::start_with(tools, |_| {}, |_| {}).await
    }

    async fn start_with(
        tools: &[&str],
        registry: fn(&mut spanwire_registry::Config),
        router: fn(&mut spanwire_router::Config),
    ) -> Self {
        let world = World::new();
        let scripts = [Script::new("fs", tools), Script::new("fs", tools)];
        let setup = |servers: &[&Arc<Script>]| Setup { registry, router, ..Setup::of(servers) };
        let a = world.start("a", setup(&[])).await;
        let b = world.start("b", setup(&[&scripts[0]])).await;
        let c = world.start("c", setup(&[&scripts[1]])).await;
        for node in [&b, &c] {
            node.ready("fs", &node.id).await;
            a.ready("fs", &node.id).await;
        }
        let [one, two] = scripts;
        Self { world, a, replicas: [(b, one), (c, two)] }
    }

    /// How many calls each replica had.
    fn calls(&self) -> [usize; 2] {
        [0, 1].map(|at| self.replicas[at].1.seen.borrow().calls.len())
    }

    async fn stop(self) {
        self.a.stop().await;
        for (node, _) in &self.replicas {
            node.stop().await;
        }
    }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "as the script says")
}

#[tokio::test]
async fn a_call_goes_on_to_another_replica_when_nothing_was_executed() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Overloaded] {
        let three = Three::start(&["echo"]).await;
        three.replicas[0].1.fails(error(kind));
        // Whichever is drawn first, the other one answers in the end.
        for _ in 0..20 {
            three.a.tool("fs__echo").ok().await;
        }
        let [refused, answered] = three.calls();
        assert!(refused > 0 && answered == 20, "{kind:?}: {refused} refused, {answered} answered");
        // Each is asked once, and the caller is told what the last one said.
        three.replicas[1].1.fails(error(kind));
        let before = three.calls();
        let error = three.a.tool("fs__echo").outcome().await.unwrap_err();
        assert_eq!((error.kind, error.retry()), (kind, Retry::Safe));
        assert_eq!(three.calls(), before.map(|count| count + 1));
        three.stop().await;
    }
}

#[tokio::test]
async fn a_call_whose_outcome_is_unknown_is_not_repeated() {
    let promised = error(ErrorKind::Unavailable).with_data(json(r#"{"kind":"unavailable","retry":"if_idempotent"}"#));
    for (tool, failure, expected) in [
        ("fs__echo", error(ErrorKind::StreamLost), ErrorKind::StreamLost),
        ("fs__echo", error(ErrorKind::DeadlineExceeded), ErrorKind::DeadlineExceeded),
        ("fs__echo", error(ErrorKind::Internal), ErrorKind::Internal),
        ("fs__echo", promised, ErrorKind::Unavailable),
        // It has spoken before: it was at work, whatever it says in the end.
        ("fs__talk", error(ErrorKind::Unavailable), ErrorKind::StreamLost),
        ("fs__talk", error(ErrorKind::Overloaded), ErrorKind::StreamLost),
    ] {
        let three = Three::start(&["echo", "talk"]).await;
        for (_, script) in &three.replicas {
            script.fails(failure.clone());
        }
        let error = three.a.tool(tool).outcome().await.unwrap_err();
        assert_eq!(error.kind, expected, "{tool} {failure:?}");
        assert_eq!(three.calls().iter().sum::<usize>(), 1, "{tool} {failure:?}");
        three.stop().await;
    }
}

#[tokio::test]
async fn a_busy_server_of_this_node_gives_way_to_one_of_another_node() {
    let (here, there) = (Script::new("fs", &["hang", "echo"]), Script::new("fs", &["hang", "echo"]));
    let world = World::new();
    let setup = |script: &Arc<Script>| Setup {
        specs: vec![ServerSpec { max_in_flight: Some(1), ..script.spec() }],
        ..Setup::of(&[script])
    };
    let (a, b) = (world.start("a", setup(&here)).await, world.start("b", setup(&there)).await);
    a.ready("fs", "a").await;
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    b.ready("fs", "a").await;
    let mut hanging = a.tool("fs__hang").send();
    tokio::select! {
        _ = hanging.next() => panic!("it hangs"),
        _ = here.until("called", |seen| seen.calls.len() == 1) => {}
    }
    for _ in 0..5 {
        a.tool("fs__echo").ok().await;
    }
    assert_eq!((here.calls_of("echo"), there.calls_of("echo")), (0, 5));
    // When both are busy, the own one is waited for: it is no busier than the other one.
    let other = running(b.tool("fs__hang").send());
    there.until("called", |seen| seen.calls.len() == 6).await;
    let waiting = running(a.tool("fs__echo").send());
    let late = a.tool("fs__echo").within(Duration::from_millis(50)).outcome().await.unwrap_err();
    assert_eq!((late.kind, late.retry()), (ErrorKind::Overloaded, Retry::Safe));
    drop(hanging);
    waiting.await.unwrap().unwrap();
    other.abort();
    a.tool("fs__echo").ok().await;
    assert!(here.calls_of("echo") >= 1);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_less_busy_replica_gets_the_call() {
    let three =
        Three::start_with(&["hang", "echo"], |config| config.heartbeat = Duration::from_millis(20), |_| {}).await;
    let (b, script) = &three.replicas[0];
    // Calls of b's own clients: this node only knows of them by what b says.
    let hanging: Vec<_> = (0..5).map(|_| running(b.tool("fs__hang").send())).collect();
    script.until("called", |seen| seen.calls.len() == 5).await;
    let (node, fs) = ("b".parse().unwrap(), "fs".parse().unwrap());
    let told = async {
        while three.a.registry.load(&node, &fs) != 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(super::script::PATIENCE, told).await.expect("the load is not told");
    let version = three.a.registry.inventory().version;
    for _ in 0..20 {
        three.a.tool("fs__echo").ok().await;
    }
    assert_eq!(three.calls(), [5, 20]);
    assert_eq!(three.a.registry.inventory().version, version, "a load is no new inventory");
    // What this node has sent counts at once: ten calls that hang are spread over both.
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
    let told = async {
        while three.a.registry.load(&node, &fs) != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(super::script::PATIENCE, told).await.expect("the load is not told");
    let mut own = Vec::new();
    for count in 1..=10 {
        own.push(running(three.a.tool("fs__hang").send()));
        let sum = async {
            while three.calls().iter().sum::<usize>() != 25 + count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(super::script::PATIENCE, sum).await.expect("not called");
    }
    let [b, c] = three.calls();
    assert!(b - 5 >= 2 && c - 20 >= 2, "{b} and {c}");
    own.iter().for_each(tokio::task::JoinHandle::abort);
    three.stop().await;
}

#[tokio::test]
async fn a_node_that_is_about_to_leave_is_asked_last() {
    let three = Three::start(&["echo"]).await;
    three.replicas[0].0.registry.drain().await;
    let leaving = |inventory: &spanwire_model::Inventory| {
        inventory.nodes.iter().any(|node| node.id.as_str() == "b" && node.state == NodeState::Draining)
    };
    three.a.until("draining", leaving).await;
    three.replicas[0].0.until("draining itself", leaving).await;
    for _ in 0..20 {
        three.a.tool("fs__echo").ok().await;
    }
    assert_eq!(three.calls(), [0, 20]);
    // Better than nobody.
    three.replicas[1].1.fails(error(ErrorKind::Overloaded));
    three.a.tool("fs__echo").ok().await;
    assert_eq!(three.calls(), [1, 21]);
    three.stop().await;
}

const STATE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"node":"ghost","beat":{"incarnation":1,"version":1},"servers":[
    {"id":"fs","transport":"stdio","state":"ready","detail":null,"restarts":0,"facts":null,"call_timeout_ms":null,
    "listing":{"tools":[],"prompts":[],"resources":[],"templates":[],"ttl_ms":0,"private":false}}]}}"#;

#[tokio::test]
async fn a_silent_node_is_asked_last() {
    let quick: fn(&mut spanwire_registry::Config) = |config| {
        config.heartbeat = Duration::from_millis(20);
        (config.heartbeats_until_suspect, config.heartbeats_until_gone) = (10, 1_000_000);
    };
    let three = Three::start_with(&["echo"], quick, |_| {}).await;
    let ghost = three.world.impostor("ghost", STATE).await;
    ghost.say("ghost", r#"{"what":"alive","beat":{"incarnation":1,"version":1}}"#).await;
    three.a.ready("fs", "ghost").await;
    let suspect = |inventory: &spanwire_model::Inventory| {
        inventory.nodes.iter().any(|node| node.id.as_str() == "ghost" && node.state == NodeState::Suspect)
    };
    let inventory = three.a.until("suspect", suspect).await;
    let silent = inventory.nodes.iter().find(|node| node.id.as_str() == "ghost").unwrap().silent;
    assert!(silent >= Duration::from_millis(200), "{silent:?}");
    let asked = *ghost.asked.borrow();
    for _ in 0..20 {
        three.a.tool("fs__echo").ok().await;
    }
    assert_eq!(*ghost.asked.borrow(), asked);
    three.stop().await;
}

#[tokio::test]
async fn a_replica_that_fails_again_and_again_is_left_alone_for_a_while() {
    let three = Three::start(&["echo"]).await;
    let script = &three.replicas[0].1;
    script.fails(error(ErrorKind::StreamLost));
    let since = Instant::now();
    let mut lost = 0;
    for _ in 0..200 {
        lost += usize::from(three.a.tool("fs__echo").outcome().await.is_err());
    }
    // Three until it is found sick, and one for each pause since.
    let pauses = usize::try_from(since.elapsed().as_millis() / 500).unwrap();
    let [sick, well] = three.calls();
    assert!((3..=3 + pauses).contains(&sick), "{sick} calls in {pauses} pauses");
    assert_eq!((lost, well), (sick, 200 - sick));
    let metrics = three.a.telemetry.metrics().encode_openmetrics();
    assert!(metrics.contains(r#"spanwire_replicas_sick_total{spanwire_server="fs"} "#), "{metrics}");
    // When there is nobody else, it is asked all the same; and when it answers, it is one like the other.
    script.fails(None);
    three.replicas[1].0.stop().await;
    three.a.until("two nodes", |inventory| inventory.nodes.len() == 2).await;
    three.a.tool("fs__echo").ok().await;
    assert_eq!(three.calls()[0], sick + 1);
    three.stop().await;
}

fn text(result: &str, key: &str) -> String {
    Json::from_trusted(result.to_owned()).get(key).unwrap_or_else(|| panic!("no {key} in {result}")).read().unwrap()
}

#[tokio::test]
async fn what_a_replica_gave_out_comes_back_to_it() {
    let common: fn(&mut spanwire_router::Config) = |config| config.seal_secret = b"common".to_vec();
    const DECLARED: &str =
        r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
    for router in [common, |_| {}] {
        let three = Three::start_with(&["ask", "work"], |_| {}, router).await;
        for round in 1..=10 {
            let before = three.calls();
            let asked = three.a.tool("fs__ask").ok().await;
            let state = text(&asked, "requestState");
            let first = if three.calls()[0] > before[0] { 0 } else { 1 };
            let retry = format!(r#"{{"name":"fs__ask","arguments":{{}},"requestState":"{state}"}}"#);
            three.a.request("tools/call", retry).ok().await;
            assert_eq!(three.calls()[first], before[first] + 2, "the state of round {round}");

            let before = three.calls();
            let id = text(&three.a.tool("fs__work").ok().await, "taskId");
            let first = if three.calls()[0] > before[0] { 0 } else { 1 };
            for _ in 0..3 {
                three.a.request("tasks/get", format!(r#"{{"taskId":"{id}",{DECLARED}}}"#)).ok().await;
            }
            assert_eq!(three.calls()[first], before[first] + 4, "the task of round {round}");
            // Also from a node that has the server itself.
            let (other, _) = &three.replicas[1 - first];
            other.request("tasks/get", format!(r#"{{"taskId":"{id}",{DECLARED}}}"#)).ok().await;
            assert_eq!(three.calls()[first], before[first] + 5, "the task of round {round}, from its other node");
        }
        three.stop().await;
    }
}

#[tokio::test]
async fn each_attempt_is_a_span() {
    let three = Three::start(&["echo"]).await;
    three.replicas[0].1.fails(error(ErrorKind::Overloaded));
    let mut trace = 0;
    // Until the one that is busy is drawn first.
    let spans = loop {
        trace += 1;
        assert!(trace < 1000, "it is never drawn first");
        let mut request = three.a.tool("fs__echo");
        request.call.parent = Some(TraceContext { trace_id: trace, span_id: 7, sampled: true, tracestate: None });
        request.ok().await;
        let spans = three.a.telemetry.ring().trace(trace).unwrap();
        if spans.iter().filter(|span| span.kind == SpanKind::Producer).count() == 2 {
            break spans;
        }
    };
    let route = spans.iter().find(|span| span.kind == SpanKind::Internal).unwrap();
    let attempts: Vec<_> = spans.iter().filter(|span| span.kind == SpanKind::Producer).collect();
    for (at, (span, node)) in attempts.iter().zip(["b", "c"]).enumerate() {
        assert_eq!(span.parent_span_id, Some(route.span_id));
        assert_eq!(span.attribute(names::SPANWIRE_ATTEMPT), Some(&Value::from(i64::try_from(at).unwrap() + 1)));
        assert_eq!(span.attribute(names::SPANWIRE_REPLICA), Some(&Value::from(node.to_owned())));
        assert_eq!(span.error.is_some(), at == 0);
    }
    assert_eq!(route.attribute(names::SPANWIRE_REPLICA), Some(&Value::from("c".to_owned())));
    assert_eq!(route.attribute(names::SPANWIRE_ATTEMPT), Some(&Value::from(2_i64)));
    assert!(route.error.is_none());
    let metrics = three.a.telemetry.metrics().encode_openmetrics();
    assert!(metrics.contains(r#"spanwire_calls_retried_total{reason="overloaded"} "#), "{metrics}");
    three.stop().await;
}

#[tokio::test]
async fn a_dropped_reply_is_dropped_wherever_the_call_is() {
    let three = Three::start(&["hang"]).await;
    three.replicas[0].1.fails(error(ErrorKind::Unavailable));
    let mut reply = three.a.tool("fs__hang").send();
    tokio::select! {
        event = next(&mut reply) => assert!(matches!(event, Event::Done(_)), "it hangs"),
        () = async {
            while three.calls().iter().sum::<usize>() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } => {}
    }
    drop(reply);
    for (node, script) in &three.replicas {
        let called = script.seen.borrow().calls.len();
        script.until("cancelled", |seen| seen.cancelled == called).await;
        assert_eq!(node.registry.in_flight(), 0);
    }
    three.stop().await;
}
