//! Agents of the registry: registered once, known to all nodes, there after restarts and in backups.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use spanwire_rpc::v1::AddAgentRequest;
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, program},
};
use tokio::time::{Instant, sleep};
use tonic::Request;

/// How often something is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest that a node may need to read what another one wrote, on a busy machine.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Numbers and a member that only the agent knows: they stay as they are.
const CARD: &str = r#"{"name":"Ada","description":"plans","version":"1.0.0","supportedInterfaces":[{"url":"https://ada.example/a2a",
"protocolBinding":"JSONRPC","protocolVersion":"1.0"}],"skills":[{"id":"plan","name":"Plan","description":"","tags":[]}],
"x-own":{"big":12345678901234567890123,"one":1.0}}"#;

/// A folder with cards.
struct Cards(tempfile::TempDir);

impl Cards {
    fn new() -> Self {
        let cards = Self(tempfile::tempdir().unwrap());
        cards.write("ada", CARD);
        cards.write("bob", r#"{"name":"Bob"}"#);
        cards
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn add(&self, node: &Node, id: &str, card: &str, more: &[&str]) -> Output {
        let path = self.path(card);
        node.command(&[&["agents", "add", id, "--card", path.to_str().unwrap()], more].concat()).await.unwrap()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check(output: &Output, code: i32, part: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(part), "expected {part:?} in: {said}");
}

/// The ids and names of all agents.
async fn agents(node: &Node) -> Vec<(String, String)> {
    let listed = node.command_json(&["agents", "--json"]).await.unwrap();
    let text = |agent: &Value, member: &str| agent[member].as_str().unwrap().to_owned();
    listed["agents"].as_array().unwrap().iter().map(|agent| (text(agent, "id"), text(agent, "name"))).collect()
}

/// The card as the node has it.
async fn card(node: &Node, id: &str) -> String {
    let shown = node.command(&["agents", "show", id]).await.unwrap();
    assert!(shown.status.success(), "{}", said(&shown));
    String::from_utf8(shown.stdout).unwrap().trim_end().to_owned()
}

/// Waits for something that nobody tells of.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + READ_TIMEOUT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Until the node has these agents.
async fn knows(node: &Node, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected.iter().map(|(id, name)| ((*id).into(), (*name).into())).collect();
    let what = format!("{} knows {expected:?}", node.id());
    eventually(&what, async || (agents(node).await == expected).then_some(())).await;
}

#[tokio::test]
async fn a_node_keeps_its_agents_over_restarts() {
    let cards = Cards::new();
    let mut node = Node::start_as("alone", "").await.unwrap();
    check(&cards.add(&node, "ada", "ada", &[]).await, 0, "added ada");
    check(
        &cards.add(&node, "ada", "bob", &[]).await,
        1,
        "agent \"ada\" exists already: remove it first, or replace it",
    );
    assert_eq!(card(&node, "ada").await, CARD, "it was refused, and the card is as it came");
    check(&cards.add(&node, "bob", "bob", &[]).await, 0, "added bob");
    check(&cards.add(&node, "bob", "ada", &["--replace"]).await, 0, "replaced bob");

    cards.write("odd", r#"{"name":"Odd","skills":[{"id":"a","name":"A"},{"name":"B"}]}"#);
    check(&cards.add(&node, "odd", "odd", &[]).await, 1, "the card of agent \"odd\": $.skills[1].id is missing; ");
    cards.write("large", &json!({ "name": "Large", "x": "x".repeat(64 * 1024) }).to_string());
    check(&cards.add(&node, "large", "large", &[]).await, 1, "at most 65536");
    knows(&node, &[("ada", "Ada"), ("bob", "Ada")]).await;
    let status = node.command_json(&["status", "--json"]).await.unwrap();
    assert_eq!(status["registered"], json!({ "servers": 0, "agents": 2 }));

    node.kill().await.unwrap();
    node.restart().await.unwrap();
    knows(&node, &[("ada", "Ada"), ("bob", "Ada")]).await;
    assert_eq!(card(&node, "ada").await, CARD);
    let one = node.command_json(&["agents", "show", "bob", "--json"]).await.unwrap();
    assert_eq!((&one["by"], &one["node"]), (&json!("operator"), &json!("alone")));
    assert!(one["version"].as_u64().unwrap() > 2 && one["registered_unix_ms"].as_u64().unwrap() > 0, "{one}");
    check(&node.command(&["agents", "remove", "bob"]).await.unwrap(), 0, "removed bob");
    check(&node.command(&["agents", "remove", "bob"]).await.unwrap(), 4, "the registry has no agent \"bob\"");
    knows(&node, &[("ada", "Ada")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_know_the_agents_that_one_was_told() {
    let cards = Cards::new();
    let nats = NatsServer::start_jetstream().await.unwrap();
    let config = format!("[nats]\nurl = \"{}\"\n", nats.url());
    let mut a = Node::start_as("a", &config).await.unwrap();
    let mut b = Node::start_as("b", &config).await.unwrap();
    for node in [&a, &b] {
        node.wait_nodes(&["a", "b"]).await.unwrap();
        node.wait_following().await.unwrap();
    }
    check(&cards.add(&a, "ada", "ada", &[]).await, 0, "added ada");
    knows(&b, &[("ada", "Ada")]).await;
    check(&cards.add(&b, "ada", "bob", &[]).await, 1, "exists already");
    check(&cards.add(&b, "bob", "bob", &[]).await, 0, "added bob");
    check(&b.command(&["agents", "remove", "ada"]).await.unwrap(), 0, "removed ada");
    knows(&a, &[("bob", "Bob")]).await;
    check(&cards.add(&a, "ada", "ada", &[]).await, 0, "added ada");

    for node in [&mut a, &mut b] {
        node.kill().await.unwrap();
    }
    for node in [&mut a, &mut b] {
        node.restart().await.unwrap();
    }
    let late = Node::start_as("late", &config).await.unwrap();
    for node in [&a, &b, &late] {
        knows(node, &[("ada", "Ada"), ("bob", "Bob")]).await;
        assert_eq!(card(node, "ada").await, CARD);
    }
    let shown = late.command_json(&["agents", "show", "bob", "--json"]).await.unwrap();
    assert_eq!(shown["node"], "b", "where it was registered");
}

async fn restore(file: &Path, data: &Path) -> Output {
    let mut command = tokio::process::Command::new(program().unwrap());
    command.args(["restore".as_ref(), file.as_os_str(), "--data".as_ref(), data.as_os_str()]);
    command.stdin(Stdio::null()).kill_on_drop(true).env_remove("SPANWIRE_CONFIG").output().await.unwrap()
}

#[tokio::test]
async fn a_backup_has_the_agents_in_it() {
    let cards = Cards::new();
    let mut node = Node::start("").await.unwrap();
    check(&cards.add(&node, "ada", "ada", &[]).await, 0, "added ada");
    let file = cards.path("backup");
    check(&node.command(&["backup", file.to_str().unwrap()]).await.unwrap(), 0, "");
    check(&cards.add(&node, "later", "bob", &[]).await, 0, "added later");
    node.stop().await.unwrap();
    std::fs::remove_dir_all(node.data().join("store")).unwrap();
    check(&restore(&file, &node.data()).await, 0, "");
    node.restart().await.unwrap();
    knows(&node, &[("ada", "Ada")]).await;
    assert_eq!(card(&node, "ada").await, CARD);
}

#[tokio::test]
async fn a_registration_is_a_part_of_its_callers_trace() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let node = Node::start("").await.unwrap();
    let add = AddAgentRequest { id: "ada".into(), card_json: CARD.into(), replace: false };
    let mut request = Request::new(add);
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
    node.broker().await.unwrap().add_agent(request).await.unwrap();
    let names = eventually("the spans", async || {
        let shown = node.command(&["trace", "show", TRACE, "--json"]).await.unwrap();
        let shown: Value = serde_json::from_slice(&shown.stdout).ok()?;
        let spans = shown["spans"].as_array()?;
        let door = spans.iter().find(|span| span["name"] == "spanwire.v1.Broker/AddAgent")?;
        let append = spans.iter().find(|span| span["name"] == "ledger append")?;
        Some((door["span_id"].clone(), append["parent_span_id"].clone(), door["parent_span_id"].clone()))
    })
    .await;
    assert_eq!((&names.0, names.2.as_str()), (&names.1, Some("b7ad6b7169203331")));
}
