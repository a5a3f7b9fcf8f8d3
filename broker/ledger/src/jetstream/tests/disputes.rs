//! Nodes whose views differ: whoever is wrong is made right or stops, and never the others.

use spanwire_model::{Ledger, ReadLevel, ShardState};
use tokio::time::Instant;

use super::{
    harness::{Node, PATIENCE, Recipe, SHARD, node, small, until},
    server::Server,
};
use crate::{jetstream::bucket::Bucket, position::Hash, testing::broken_machines};

const COUNT: &str = r#"{"do":"count","key":"n"}"#;

/// Counts on a node whose view is right, and checks each answer.
async fn count(node: &Node, numbers: std::ops::Range<u128>) {
    for number in numbers {
        let receipt = node.append(number, COUNT).await.unwrap();
        assert_eq!(receipt.outcome.unwrap().read::<u128>().unwrap(), number);
    }
}

/// Counts on until something is so; returns the next number.
async fn count_until(node: &Node, mut next: u128, what: &str, mut done: impl FnMut() -> bool) -> u128 {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        count(node, next..next + 1).await;
        next += 1;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    next
}

fn names(node: &Node, other: &str) -> bool {
    let status = node.status();
    status.detail.is_some_and(|detail| detail.contains("wrong on") && detail.contains(other))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_node_that_tends_the_logs_is_made_right_and_the_others_go_on() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let (wrong, _one) = node(&recipe, "wrong").await;
    until("it tends the logs", || wrong.ledger.inner.has_duty().then_some(()).ok_or(())).await;
    let ((left, _two), (right, _three)) = (node(&recipe, "left").await, node(&recipe, "right").await);
    count(&left, 1..6).await;
    wrong.agrees_with(&left).await;
    wrong.damage("n", "1000").await;
    // It writes checkpoints, and would write snapshots, of what it has.
    let next = count_until(&left, 6, "the others say who is wrong", || {
        names(&left, "wrong") && names(&right, "wrong") && wrong.rebuilds() > 0
    })
    .await;
    let next =
        count_until(&right, next, "the wrong one follows again", || wrong.status().state == ShardState::Following)
            .await;
    for node in [&left, &right] {
        assert_eq!((node.rebuilds(), node.status().state), (0, ShardState::Following));
    }
    wrong.agrees_with(&left).await;
    right.agrees_with(&left).await;
    let last = (next - 1).to_string();
    for node in [&wrong, &left, &right] {
        assert_eq!(node.value("n").as_deref(), Some(last.as_str()));
    }
    // What newcomers begin with is right.
    let stored = Bucket::open(&left.streams()).await.unwrap();
    let next = match &stored {
        Some(bucket) if !bucket.sequences(SHARD).await.unwrap().is_empty() => next,
        Some(_) | None => count_until(&left, next, "there is a snapshot", || left.status().first > 1).await,
    };
    let (fresh, _four) = node(&recipe, "fresh").await;
    fresh.agrees_with(&left).await;
    count(&fresh, next..next + 25).await;
    fresh.agrees_with(&left).await;
    assert_eq!((fresh.rebuilds(), left.rebuilds(), right.rebuilds()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_always_wrong_stops_and_the_others_go_on() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let broken = Recipe { machines: broken_machines, leases: recipe.leases.clone(), ..Recipe::new(server.url()) };
    let broken = Recipe { options: small, ..broken };
    let (wrong, _one) = node(&broken, "wrong").await;
    until("it tends the logs", || wrong.ledger.inner.has_duty().then_some(()).ok_or(())).await;
    let ((left, _two), (right, _three)) = (node(&recipe, "left").await, node(&recipe, "right").await);
    let next = count_until(&left, 1, "the wrong one stops", || wrong.status().state == ShardState::Stopped).await;
    assert!(names(&left, "wrong") && names(&right, "wrong"));
    let detail = wrong.status().detail.unwrap();
    assert!(detail.contains("disagrees"), "{detail}");
    // The others tend the logs from now on, and compact them.
    let next = count_until(&right, next, "the log is compacted", || right.status().first > 1).await;
    left.ledger.reach(SHARD, ReadLevel::AtLeast(right.status().applied), Instant::now() + PATIENCE).await.unwrap();
    left.agrees_with(&right).await;
    assert_eq!((left.rebuilds(), right.rebuilds()), (0, 0));
    assert_eq!(left.value("n"), Some((next - 1).to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_the_right_one_is_never_stopped() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let (wrong, _one) = node(&recipe, "wrong").await;
    until("it tends the logs", || wrong.ledger.inner.has_duty().then_some(()).ok_or(())).await;
    let (right, _two) = node(&recipe, "right").await;
    count(&right, 1..6).await;
    wrong.agrees_with(&right).await;
    wrong.damage("n", "1000").await;
    count(&right, 6..16).await;
    until("the right one has looked into itself, and says who is wrong", || {
        let status = right.status();
        assert_ne!(status.state, ShardState::Stopped, "{status:?}");
        names(&right, "wrong").then_some(()).ok_or(status)
    })
    .await;
    until("the wrong one is made right", || {
        let status = wrong.status();
        assert_ne!(status.state, ShardState::Stopped, "{status:?}");
        (wrong.value("n").as_deref() == Some("15")).then_some(()).ok_or(status)
    })
    .await;
    wrong.is(ShardState::Following).await;
    right.is(ShardState::Following).await;
    wrong.agrees_with(&right).await;
    count(&right, 16..40).await;
    wrong.agrees_with(&right).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_can_know_both_go_on_until_a_third_node_decides() {
    let server = Server::start().await;
    let recipe = Recipe { options: small, ..Recipe::new(server.url()) };
    let (left, _one) = node(&recipe, "left").await;
    let (right, _two) = node(&recipe, "right").await;
    // The log does not begin with its first entry any more: only snapshots could take the place of a view.
    let next = count_until(&left, 1, "the log is compacted", || left.status().first > 1).await;
    right.agrees_with(&left).await;
    right.damage("n", "1000000").await;
    let says = |node: &Node, other: &str| {
        let said = format!("is another one on {other}, and as many nodes say so");
        node.status().detail.is_some_and(|detail| detail.contains(&said))
    };
    let next =
        count_until(&left, next, "both say that they differ", || says(&left, "right") && says(&right, "left")).await;
    for node in [&left, &right] {
        assert_eq!((node.rebuilds(), node.status().state), (0, ShardState::Following));
    }
    // Both answer, each what it has.
    count(&left, next..next + 25).await;
    assert!(right.append(1_000_000, COUNT).await.unwrap().outcome.unwrap().read::<u64>().unwrap() > 1_000_000);
    let next = next + 26;
    // Nothing was made of a view that may be wrong: what the third one begins with is older.
    let (third, _three) = node(&recipe, "third").await;
    let next = count_until(&left, next, "the wrong one is made anew", || right.rebuilds() > 0).await;
    right.is(ShardState::Following).await;
    right.agrees_with(&left).await;
    third.agrees_with(&left).await;
    count(&right, next..next + 5).await;
    assert_eq!((left.rebuilds(), right.rebuilds(), third.rebuilds()), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_objection_that_nobody_takes_is_made_again_until_it_is_in_the_log() {
    let mut server = Server::start().await;
    let recipe = Recipe::new(server.url());
    let (left, _one) = node(&recipe, "left").await;
    count(&left, 1..4).await;
    server.kill();
    let log = left.ledger.inner.log(SHARD).unwrap().clone();
    log.speech.say(2, Hash::of(b"another"));
    left.is(ShardState::CutOff).await;
    server.run().await;
    left.is(ShardState::Following).await;
    let said = Hash::of(b"another").to_string();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let message = left.streams().message(SHARD, 4).await.unwrap();
        if message.is_some_and(|message| String::from_utf8_lossy(&message).contains(&said)) {
            break;
        }
        assert!(Instant::now() < deadline, "never said: {:?}", left.status());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
