//! Appends, reads and the connection.

use std::time::Duration;

use spanwire_model::{ErrorKind, Ledger, ReadLevel, ShardState, TraceContext};
use tokio::time::Instant;

use super::{
    harness::{Node, PATIENCE, Recipe, SHARD, until},
    server::{Proxy, Server},
};
use crate::testing::{command, put};

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[tokio::test]
async fn two_nodes_agree_and_each_sees_the_others_writes() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (left, right) = (recipe.node("left", one.path()).await, recipe.node("right", two.path()).await);
    left.is(ShardState::Following).await;
    right.is(ShardState::Following).await;
    let counts = (1..=40).map(|operation| {
        let node = if operation % 2 == 0 { &left } else { &right };
        node.append(operation, r#"{"do":"count","key":"n"}"#)
    });
    let receipts = futures::future::join_all(counts).await;
    let mut answers: Vec<u64> =
        receipts.into_iter().map(|receipt| receipt.unwrap().outcome.unwrap().read().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, Vec::from_iter(1..=40));
    left.agrees_with(&right).await;
    let receipt = left.append(100, &put("a", "b")).await.unwrap();
    right.ledger.reach(SHARD, ReadLevel::AtLeast(receipt.sequence), soon()).await.unwrap();
    assert_eq!(right.value("a").as_deref(), Some("b"));
    // Without knowing any sequence.
    left.append(101, &put("a", "c")).await.unwrap();
    right.ledger.reach(SHARD, ReadLevel::Linearizable, soon()).await.unwrap();
    assert_eq!(right.value("a").as_deref(), Some("c"));
    // Again, from the other node: once.
    let again = right.append(100, &put("a", "b")).await.unwrap();
    assert_eq!(again, receipt);
    assert_eq!(left.value("a").as_deref(), Some("c"));
    let status = left.status();
    assert_eq!((status.state, status.replicas, status.detail, status.stale), (ShardState::Following, 1, None, None));
}

#[tokio::test]
async fn a_cut_off_node_refuses_at_once_reads_on_and_comes_back() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(proxy.url()).node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    node.append(1, &put("a", "b")).await.unwrap();
    proxy.cut();
    node.is(ShardState::CutOff).await;
    let status = node.status();
    assert!(status.stale.is_some() && status.detail.is_some(), "{status:?}");
    let asked = Instant::now();
    let error = node.append(2, &put("a", "c")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let error = node.ledger.reach(SHARD, ReadLevel::Linearizable, soon()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(asked.elapsed() < PATIENCE / 2);
    assert_eq!(node.value("a").as_deref(), Some("b"));
    assert_eq!(node.append(1, &put("a", "b")).await.unwrap().sequence, 1, "what is known is told");
    proxy.mend();
    node.is(ShardState::Following).await;
    assert_eq!(node.append(3, &put("a", "d")).await.unwrap().sequence, 2);
    assert_eq!(node.rebuilds(), 0);
}

#[tokio::test]
async fn a_command_on_its_way_when_the_connection_breaks_is_applied_once() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(proxy.url()).node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    for operation in 1..=20 {
        let append = node.append(operation, r#"{"do":"count","key":"n"}"#);
        let cut = async {
            // Somewhere between the publish and the acknowledgement, another place each time.
            for _ in 0..operation * 3 {
                tokio::task::yield_now().await;
            }
            proxy.cut();
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.mend();
        };
        let (receipt, ()) = tokio::join!(append, cut);
        let count: u128 = receipt.unwrap().outcome.unwrap().read().unwrap();
        assert_eq!(count, operation);
    }
    assert_eq!(node.value("n").as_deref(), Some("20"));
}

#[tokio::test]
async fn one_operation_twice_in_the_log_is_applied_once_everywhere() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (left, right) = (recipe.node("left", one.path()).await, recipe.node("right", two.path()).await);
    left.is(ShardState::Following).await;
    right.is(ShardState::Following).await;
    let receipt = left.append(7, r#"{"do":"count","key":"n"}"#).await.unwrap();
    // As after the server's own window: it does not know the operation any more.
    let payload = crate::wire::Message::of(command(7, r#"{"do":"count","key":"n"}"#)).encode();
    left.client.publish("sw.v1.default.log.registry.0", payload).await.unwrap();
    left.append(8, &put("a", "b")).await.unwrap();
    left.agrees_with(&right).await;
    assert_eq!(right.value("n").as_deref(), Some("1"));
    assert_eq!(right.append(7, "{}").await.unwrap(), receipt);
    assert_eq!(right.status().applied, 3);
}

#[tokio::test]
async fn a_server_without_jetstream_is_said_and_waited_for() {
    let nats = Server::start_without_jetstream().await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(nats.url()).node("left", folder.path()).await;
    node.is(ShardState::CutOff).await;
    until("the detail says what to do", || {
        let detail = node.status().detail.unwrap_or_default();
        detail.contains("-js").then_some(()).ok_or(detail)
    })
    .await;
    assert_eq!(node.append(1, &put("a", "b")).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn commands_above_the_limit_are_refused_and_many_at_once_are_not_lost() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(server.url()).node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    let large = put("a", &"x".repeat(spanwire_model::MAX_COMMAND_BYTES));
    assert_eq!(node.append(1, &large).await.unwrap_err().kind, ErrorKind::TooLarge);
    let appends = (1000..1400).map(|operation| node.append(operation, r#"{"do":"count","key":"n"}"#));
    let results = futures::future::join_all(appends).await;
    let (done, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert!(refused.iter().all(|result| result.as_ref().unwrap_err().kind == ErrorKind::Overloaded));
    assert!(!refused.is_empty());
    assert_eq!(node.value("n"), Some(done.len().to_string()));
    let readers = (0..100).map(|_| node.ledger.reach(SHARD, ReadLevel::Linearizable, soon()));
    let reached = futures::future::join_all(readers).await;
    assert!(reached.iter().all(|reached| *reached.as_ref().unwrap() > done.len() as u64));
    assert!(node.status().applied <= done.len() as u64 + 10, "readers share barriers");
}

#[tokio::test]
async fn an_append_can_be_traced_in_the_span_and_in_the_message() {
    let server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (left, right) = (recipe.node("left", one.path()).await, recipe.node("right", two.path()).await);
    left.is(ShardState::Following).await;
    right.is(ShardState::Following).await;
    let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
    let mut traced = command(1, &put("a", "b"));
    traced.author.trace = Some(parent.clone());
    let receipt = left.append_command(traced.clone()).await.unwrap();
    right.ledger.reach(SHARD, ReadLevel::AtLeast(receipt.sequence), soon()).await.unwrap();
    assert_eq!(right.append_command(traced).await.unwrap(), receipt);
    for node in [&left, &right] {
        // The ring takes them in a moment later.
        until("there is a span", || node.telemetry.ring().trace(parent.trace_id).map(drop).ok_or("none")).await;
    }
    let attribute = |node: &Node, key: &str| {
        let spans = node.telemetry.ring().trace(parent.trace_id).unwrap();
        let span = spans.into_iter().find(|span| span.name == "ledger append").unwrap();
        assert_eq!(span.parent_span_id, Some(parent.span_id));
        (format!("{:?}", span.attribute(key).unwrap()), span.span_id)
    };
    assert!(attribute(&left, "spanwire.attempts").0.contains('1'));
    assert!(attribute(&left, "spanwire.redelivery").0.contains("false"));
    assert!(attribute(&right, "spanwire.attempts").0.contains('0'));
    assert!(attribute(&right, "spanwire.redelivery").0.contains("true"));
    let stream = left.streams().handle(SHARD).await.unwrap();
    let message = stream.get_raw_message(receipt.sequence).await.unwrap();
    let header = message.headers.get("traceparent").unwrap().as_str();
    let (_, span_id) = attribute(&left, "spanwire.attempts");
    assert_eq!(TraceContext::parse(header, None).unwrap().span_id, span_id);
    assert!(message.headers.get("Nats-Msg-Id").is_some());
}
