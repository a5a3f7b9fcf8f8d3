//! Nodes that learn of each other, and of each other's servers.

use std::{sync::atomic::Ordering, time::Duration};

use spanwire_model::{Backbone, Inventory, NodeState, Topic};
use tokio::time::timeout;

use super::{
    script::{PATIENCE, Script},
    world::{Setup, World},
};

#[tokio::test]
async fn nodes_see_one_inventory_without_waiting_for_a_heartbeat() {
    let (fs, git) = (Script::new("fs", &["echo"]), Script::new("git", &["log"]));
    let world = World::new();
    // The first one is alone and idle for as long as it likes; then the second one joins.
    let a = world.start("a", Setup::of(&[&fs])).await;
    a.ready("fs", "a").await;
    let b = world.start("b", Setup::of(&[&git])).await;
    for node in [&a, &b] {
        node.ready("fs", "a").await;
        node.ready("git", "b").await;
        let inventory = node.until("two nodes", |inventory| inventory.nodes.len() == 2).await;
        let ids: Vec<_> = inventory.servers.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["fs", "git"]);
    }
    // Every change arrives, however fast they follow each other.
    for count in 1..=20 {
        let tools: Vec<String> = (0..count).map(|index| format!("t{index}")).collect();
        fs.change_tools(&tools.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    b.entry("fs", "a", |entry| entry.listing.tools.len() == 20).await;
    git.die().await;
    a.entry("git", "b", |entry| entry.health.restarts == 1 && entry.health.state.is_callable()).await;
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn a_node_without_servers_is_seen_too() {
    let world = World::new();
    let a = world.start("a", Setup::of(&[])).await;
    let b = world.start("b", Setup::of(&[])).await;
    for node in [&a, &b] {
        node.until("two nodes", |inventory| inventory.nodes.len() == 2).await;
    }
    b.stop().await;
    a.until("alone", |inventory| inventory.nodes.len() == 1).await;
    a.stop().await;
}

#[tokio::test]
async fn a_node_that_leaves_is_gone_with_its_servers() {
    let (fs, git) = (Script::new("fs", &["echo"]), Script::new("git", &["log"]));
    let world = World::new();
    let (a, b) = (world.start("a", Setup::of(&[&fs])).await, world.start("b", Setup::of(&[&git])).await);
    a.ready("git", "b").await;
    b.stop().await;
    let inventory = a.until("alone", |inventory| inventory.nodes.len() == 1).await;
    assert_eq!(inventory.servers.len(), 1);
    a.stop().await;
}

const STATE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"node":"NODE","beat":{"incarnation":INC,"version":1},"servers":[
    {"id":"git","transport":"stdio","state":"ready","detail":null,"restarts":0,"facts":null,"call_timeout_ms":null,
    "listing":{"tools":[],"prompts":[],"resources":[],"templates":[],"ttl_ms":0,"private":false}}]}}"#;
const ALIVE: &str = r#"{"what":"alive","beat":{"incarnation":1,"version":1}}"#;

#[tokio::test]
async fn a_node_that_falls_silent_is_removed() {
    let world = World::new();
    let quick: fn(&mut spanwire_registry::Config) = |config| {
        config.heartbeat = Duration::from_millis(20);
        (config.heartbeats_until_suspect, config.heartbeats_until_gone) = (10, 25);
    };
    let a = world.start("a", Setup { registry: quick, ..Setup::of(&[]) }).await;
    let ghost = world.impostor("ghost", &STATE.replace("NODE", "ghost").replace("INC", "1")).await;
    ghost.say("ghost", ALIVE).await;
    a.ready("git", "ghost").await;
    let is = |wanted| move |inventory: &Inventory| inventory.nodes.iter().any(|node| node.state == wanted);
    // First it is suspect, and its servers stay; then it is gone with them.
    let suspect = a.until("suspect", is(NodeState::Suspect)).await;
    assert_eq!((suspect.nodes.len(), suspect.servers.len()), (2, 1));
    a.until("alone", |inventory| inventory.servers.is_empty() && inventory.nodes.len() == 1).await;

    // While this node is cut off itself, everybody is suspect at once, and nobody is buried.
    ghost.say("ghost", ALIVE).await;
    a.ready("git", "ghost").await;
    a.bus.connected.store(false, Ordering::SeqCst);
    a.until("suspect at once", is(NodeState::Suspect)).await;
    let witness = world.bus("witness");
    let mut words = witness.subscribe("node").await.unwrap();
    let beats = async |words: &mut futures::stream::BoxStream<'static, spanwire_model::BusMessage>, count| {
        for _ in 0..count {
            timeout(PATIENCE, futures::StreamExt::next(words)).await.unwrap();
        }
    };
    beats(&mut words, 30).await;
    assert_eq!(a.registry.inventory().nodes.len(), 2);
    a.bus.connected.store(true, Ordering::SeqCst);
    beats(&mut words, 3).await;
    assert_eq!(a.registry.inventory().nodes.len(), 2);
    // Its time begins anew.
    a.until("alone", |inventory| inventory.nodes.len() == 1).await;
    a.stop().await;
}

#[tokio::test]
async fn a_node_says_which_version_it_is_and_that_it_leaves() {
    let world = World::new();
    let versioned: fn(&mut spanwire_registry::Config) = |config| config.version = "1.2.3".into();
    let a = world.start("a", Setup::of(&[])).await;
    let b = world.start("b", Setup { registry: versioned, ..Setup::of(&[]) }).await;
    let is = |state| {
        move |inventory: &Inventory| {
            let b = inventory.nodes.iter().find(|node| node.id.as_str() == "b");
            b.is_some_and(|node| node.state == state && &*node.version == "1.2.3")
        }
    };
    for node in [&a, &b] {
        node.until("alive", is(NodeState::Alive)).await;
    }
    b.registry.drain().await;
    for node in [&a, &b] {
        node.until("draining", is(NodeState::Draining)).await;
    }
    b.stop().await;
    a.until("alone", |inventory| inventory.nodes.len() == 1).await;
    a.stop().await;
}

#[tokio::test]
async fn garbage_changes_nothing() {
    let fs = Script::new("fs", &["echo"]);
    let world = World::new();
    let a = world.start("a", Setup::of(&[&fs])).await;
    a.ready("fs", "a").await;
    for (id, answer, asked) in [
        ("liar", STATE.replace("NODE", "a").replace("INC", "1"), true),
        ("mumbler", "not json".to_owned(), true),
        ("wrong", r#"{"jsonrpc":"2.0","id":1,"result":{"node":"wrong","servers":7}}"#.to_owned(), true),
        ("asker", r#"{"jsonrpc":"2.0","id":1,"method":"spanwire/inventory"}"#.to_owned(), true),
        ("refuser", r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#.to_owned(), true),
        ("shouter", String::new(), false),
    ] {
        let impostor = world.impostor(id, &answer).await;
        impostor.say(id, if asked { ALIVE } else { "{\"what\":\"nonsense\"}" }).await;
        if asked {
            timeout(PATIENCE, impostor.asked.subscribe().wait_for(|asked| *asked == 1)).await.unwrap().unwrap();
        }
    }
    // One that behaves is heard after all of them, by the same task.
    let good = world.impostor("good", &STATE.replace("NODE", "good").replace("INC", "1")).await;
    good.say("good", ALIVE).await;
    let inventory = a.until("good", |inventory| inventory.nodes.iter().any(|node| node.id.as_str() == "good")).await;
    let nodes: Vec<_> = inventory.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(nodes, ["a", "good"]);
    assert_eq!(inventory.servers.len(), 2);
    a.stop().await;
}

#[tokio::test]
async fn a_node_that_was_restarted_is_asked_again() {
    let (old, new) = (Script::new("git", &["log"]), Script::new("git", &["log", "blame"]));
    let world = World::new();
    let a = world.start("a", Setup::of(&[])).await;
    let b = world.start("b", Setup::of(&[&old])).await;
    a.ready("git", "b").await;
    // It dies without a word, and another one takes its place and counts from one again.
    b.bus.close().await;
    let b = world.start("b", Setup::of(&[&new])).await;
    a.entry("git", "b", |entry| entry.listing.tools.len() == 2).await;
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn a_deep_schema_does_not_hide_a_node_from_its_peers() {
    let git = Script::new("git", &["log"]);
    let deep = format!(r#"{}{{}}{}"#, r#"{"a":"#.repeat(55), "}".repeat(55));
    git.set_raw_tool(&format!(r#"{{"name":"deep","inputSchema":{{"type":"object","x":{deep}}}}}"#));
    let world = World::new();
    let (a, b) = (world.start("a", Setup::of(&[])).await, world.start("b", Setup::of(&[&git])).await);
    a.entry("git", "b", |entry| entry.listing.tools.len() == 1).await;
    b.stop().await;
    a.stop().await;
}

#[tokio::test]
async fn a_node_that_speaks_before_it_can_be_asked_is_asked_again() {
    let world = World::new();
    let a = world.start("a", Setup::of(&[])).await;
    let bus = world.bus("late");
    let topic = Topic { kind: "node".into(), id: "late".into(), what: "state".into() };
    bus.publish(&topic, ALIVE.into()).await.unwrap();
    timeout(PATIENCE, a.bus.questions.subscribe().wait_for(|count| *count == 1)).await.unwrap().unwrap();
    bus.close().await;
    let late = world.impostor("late", &STATE.replace("NODE", "late").replace("INC", "1")).await;
    a.ready("git", "late").await;
    assert_eq!(*late.asked.borrow(), 1);
    a.stop().await;
}

#[tokio::test]
async fn a_node_that_changes_while_it_answers_is_asked_again() {
    let world = World::new();
    let a = world.start("a", Setup::of(&[])).await;
    let slow = world.slow_impostor("slow", &STATE.replace("NODE", "slow").replace("INC", "1")).await;
    let asked = async |times| {
        timeout(PATIENCE, slow.asked.subscribe().wait_for(|asked| *asked == times)).await.unwrap().map(drop).unwrap()
    };
    slow.say("slow", ALIVE).await;
    asked(1).await;
    slow.say("slow", &ALIVE.replace("\"version\":1", "\"version\":2")).await;
    // Heard by the same task before the answer, and so is the one after it.
    let other = world.impostor("other", &STATE.replace("NODE", "other").replace("INC", "1")).await;
    other.say("other", ALIVE).await;
    a.ready("git", "other").await;
    slow.may_answer.add_permits(1);
    asked(2).await;
    // It answers with the old state for ever: only something new makes this node ask again.
    slow.may_answer.add_permits(10);
    a.ready("git", "slow").await;
    other.say("other", r#"{"what":"leaving"}"#).await;
    a.until("left", |inventory| inventory.nodes.len() == 2).await;
    assert_eq!(*slow.asked.borrow(), 2);
    a.stop().await;
}
