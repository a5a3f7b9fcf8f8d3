//! A collector over either protocol; and one that is dead or hangs, which costs no call anything.

use std::time::{Duration, Instant};

use serde_json::json;
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{node::Node, otlp::Collector, peers::Peers};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use super::deployment::{Parent, script};

const CALLS: usize = 200;
/// What a call may take with a broken collector, in times of one without a collector: generous, for a busy machine.
const RATIO: u32 = 5;
/// Added to that: medians here are some milliseconds.
const SLACK: Duration = Duration::from_millis(20);
/// Longest until spans that could not be sent are counted.
const COUNTED: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn spans_arrive_over_http_too() {
    let collector = Collector::start().await.unwrap();
    let config = collector.http_config() + &script(&Peers::find().unwrap());
    let mut node = Node::start(&config).await.unwrap();
    node.wait_servers(&["script"], ServerState::Ready).await.unwrap();
    let parent = Parent::new();
    parent.in_header(&node).call("script__echo", json!({})).await.unwrap();
    let spans = collector.wait_for(&parent.trace_id, 3).await.unwrap();
    assert_eq!(spans.len(), 3);
    assert!(node.metric("spanwire_telemetry_spans_total", &["exported"]).await.unwrap() >= 3.0);
    // What is still held when the node stops is sent on the way down.
    let last = Parent::new();
    last.in_header(&node).call("script__echo", json!({})).await.unwrap();
    node.stop().await.unwrap();
    assert_eq!(collector.spans(&last.trace_id).len(), 3);
}

async fn start(endpoint: Option<String>) -> Node {
    let mut environment = vec![("OTEL_EXPORTER_OTLP_TIMEOUT", "500".to_owned())];
    environment.extend(endpoint.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(key, value)| (*key, &**value)).collect();
    let node = Node::start_with("node", &script(&Peers::find().unwrap()), &environment).await.unwrap();
    node.wait_servers(&["script"], ServerState::Ready).await.unwrap();
    node
}

/// The median time of a call.
async fn median(node: &Node) -> Duration {
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let caller = Parent::new().in_header(node);
        let start = Instant::now();
        let answer = caller.call("script__echo", json!({})).await.unwrap();
        times.push(start.elapsed());
        assert!(answer.get("result").is_some(), "{answer}");
    }
    times.sort();
    times[CALLS / 2]
}

async fn counted(node: &Node, result: &str) {
    let waited = timeout(COUNTED, async {
        while node.metric("spanwire_telemetry_spans_total", &[result]).await.unwrap() < 1.0 {
            sleep(LOOK_EVERY).await;
        }
    });
    assert!(waited.await.is_ok(), "no {result} spans in {}", node.metrics().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_collector_delays_no_call() {
    // Nobody listens where somebody did; and somebody who takes connections and says nothing.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = mute.local_addr().unwrap();
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = mute.accept().await {
            connections.push(connection);
        }
    });
    let mut off = start(None).await;
    let bound = median(&off).await * RATIO + SLACK;
    off.stop().await.unwrap();
    for (what, address) in [("dead", gone), ("hanging", hanging)] {
        let mut node = start(Some(format!("http://{address}"))).await;
        let taken = median(&node).await;
        println!("median of {CALLS} calls with a {what} collector: {taken:?}, bound {bound:?}");
        assert!(taken < bound, "{what}: {taken:?} > {bound:?}");
        counted(&node, "failed").await;
        node.stop().await.unwrap();
    }
    held.abort();
}
