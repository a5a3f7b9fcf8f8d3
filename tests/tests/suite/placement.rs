//! Servers of the registry over several nodes: registered once, started where they are to run, and on one node at a time.
//!
//! The server under test is started behind a lock that is held for as long as any of its processes lives: a second one that starts
//! meanwhile notes that in the journal, which all nodes share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod election;
mod silent;
mod third;

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use spanwire_rpc::v1::{Placement, ServerInfo, ServerState};
use spanwire_tests::{
    nats::NatsServer,
    node::{Caller, Node, STOP_TIMEOUT, http_client},
};
use tokio::time::{Instant, sleep};

/// How often something is looked at that nobody tells of.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest that a server may be without a node: a lease that runs out, and a start, on a busy machine.
const MOVE_TIMEOUT: Duration = Duration::from_secs(60);

struct Cluster {
    nodes: Vec<Node>,
    folder: tempfile::TempDir,
    _nats: Option<NatsServer>,
}

impl Cluster {
    async fn start(ids: &[&str]) -> Self {
        Self::start_with(ids, |_| String::new()).await
    }

    /// Nodes that share a JetStream, each with a fragment of its own.
    async fn start_with(ids: &[&str], fragment: impl Fn(&str) -> String) -> Self {
        let nats = NatsServer::start_jetstream().await.unwrap();
        let mut nodes = Vec::new();
        for id in ids {
            let config = format!("[nats]\nurl = \"{}\"\n{}", nats.url(), fragment(id));
            nodes.push(Node::start_as(id, &config).await.unwrap());
        }
        let cluster = Self { nodes, folder: tempfile::tempdir().unwrap(), _nats: Some(nats) };
        for node in &cluster.nodes {
            node.wait_nodes(ids).await.unwrap();
            node.wait_following().await.unwrap();
        }
        cluster
    }

    fn node(&self, id: &str) -> &Node {
        self.nodes.iter().find(|node| node.id() == id).unwrap()
    }

    fn node_mut(&mut self, id: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id() == id).unwrap()
    }

    /// A node that is none of these.
    fn other(&self, ids: &BTreeSet<String>) -> &Node {
        self.nodes.iter().find(|node| !ids.contains(node.id())).unwrap()
    }

    /// The command of the server: `start` in the journal for each start, and `overlap` for one that is not alone.
    fn command(&self, id: &str) -> Vec<String> {
        let (journal, lock) = (self.journal(id), self.folder.path().join(format!("{id}.lock")));
        let [journal, lock, program] =
            [&*journal, &*lock, Path::new(env!("CARGO_BIN_EXE_spanwire-fault-server"))].map(quoted);
        let script = format!(
            "echo start >> {journal}; flock -n -E 99 {lock} {program}; test $? -eq 99 && echo overlap >> {journal}; exit 1"
        );
        ["sh", "-c", &script].map(str::to_owned).to_vec()
    }

    fn journal(&self, id: &str) -> std::path::PathBuf {
        self.folder.path().join(id)
    }

    /// How often the server was started; nobody has seen two of it.
    fn starts(&self, id: &str) -> usize {
        let journal = fs::read_to_string(self.journal(id)).unwrap_or_default();
        assert!(!journal.contains("overlap"), "two at a time: {journal}");
        journal.lines().count()
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

/// Waits for something that nobody tells of.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + MOVE_TIMEOUT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(LOOK_EVERY).await;
    }
}

async fn add(node: &Node, args: &[&str], command: &[String]) {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = node.command(&[&["add"], args, &["--"], &command].concat()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn ready<'a>(servers: &'a [ServerInfo], id: &str) -> Vec<&'a ServerInfo> {
    servers.iter().filter(|server| server.id == id && server.state() == ServerState::Ready).collect()
}

/// The nodes that run a server, as this one sees it, once there are so many and none of these.
async fn runs(node: &Node, id: &str, count: usize, not: &BTreeSet<String>) -> BTreeSet<String> {
    let holders = |servers: &[ServerInfo]| -> BTreeSet<String> {
        ready(servers, id).iter().map(|server| server.node.clone()).collect()
    };
    let wanted = |servers: &[ServerInfo]| {
        let holders = holders(servers);
        holders.len() == count && holders.is_disjoint(not)
    };
    let what = format!("{count} of {id}, not on {not:?}");
    let change = node.wait_catalog_for(MOVE_TIMEOUT, &what, |change| wanted(&change.servers)).await.unwrap();
    holders(&change.servers)
}

async fn echo(node: &Node, id: &str) -> anyhow::Result<Value> {
    node.call(&format!("{id}__echo"), &json!({ "text": "x" })).await
}

/// A call that may have to wait for the server, but does not fail.
async fn echoes(node: &Node, id: &str) {
    eventually(&format!("{id} answers {}", node.id()), async || echo(node, id).await.ok()).await;
}

async fn list(node: &Node) -> Value {
    node.command_json(&["servers", "--json"]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_registered_once_and_comes_back_with_its_node() {
    let mine = |id: &str| match id {
        "a" => format!("[servers.shared]\ncommand = {:?}\n", env!("CARGO_BIN_EXE_spanwire-fault-server")),
        _ => String::new(),
    };
    let mut cluster = Cluster::start_with(&["a", "b"], mine).await;
    add(cluster.node("a"), &["fs", "--on", "b"], &cluster.command("fs")).await;
    for node in &cluster.nodes {
        assert_eq!(runs(node, "fs", 1, &BTreeSet::new()).await, BTreeSet::from(["b".to_owned()]));
        echoes(node, "fs").await;
    }
    let taken = cluster.node("b").command(&["add", "fs", "--", "x"]).await.unwrap();
    let text = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && text.contains("server \"fs\" exists already"), "{text}");

    // The configuration of a goes before the registry there, and that shows on every node.
    add(cluster.node("b"), &["shared", "--placement", "any"], &cluster.command("shared")).await;
    let both = runs(cluster.node("b"), "shared", 2, &BTreeSet::new()).await;
    assert_eq!(both, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let seen = list(cluster.node("b")).await;
    let shared = |seen: &Value| seen["wanted"].as_array().unwrap().iter().find(|one| one["id"] == "shared").cloned();
    assert_eq!(shared(&seen).unwrap()["shadowed_on"], json!(["a"]));
    let table = cluster.node("b").command(&["servers"]).await.unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("shared: the configuration of a goes before the registry there"), "{table}");
    assert!(table.contains("\tregistry\tany 1/1\t") && table.contains("\tconfig\there\t"), "{table}");

    for id in ["a", "b"] {
        cluster.node_mut(id).kill().await.unwrap();
    }
    for id in ["a", "b"] {
        cluster.node_mut(id).restart().await.unwrap();
    }
    for node in &cluster.nodes {
        echoes(node, "fs").await;
    }
    assert!(cluster.node("a").command(&["remove", "fs"]).await.unwrap().status.success());
    let gone = |change: &spanwire_rpc::v1::CatalogChange| !change.servers.iter().any(|server| server.id == "fs");
    for node in &cluster.nodes {
        node.wait_catalog("without fs", gone).await.unwrap();
    }
    cluster.starts("fs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_server_is_started_again_elsewhere_when_its_node_is_killed() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    add(cluster.node("a"), &["fs", "--placement", "any"], &cluster.command("fs")).await;
    let mut dead = BTreeSet::new();
    for starts in 1..=2 {
        let holders = runs(cluster.other(&dead), "fs", 1, &dead).await;
        let holder = holders.first().unwrap().clone();
        for node in cluster.nodes.iter().filter(|node| !dead.contains(node.id())) {
            echoes(node, "fs").await;
        }
        assert_eq!(cluster.starts("fs"), starts);
        if starts == 1 {
            cluster.node_mut(&holder).kill().await.unwrap();
        }
        dead.insert(holder);
    }
    let info = cluster.other(&dead).wait_servers(&["fs"], ServerState::Ready).await.unwrap();
    let [placed] = ready(&info, "fs")[..] else { panic!("{info:?}") };
    assert_eq!((placed.placement(), placed.replica), (Placement::Any, 0));
    assert!(placed.token > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_paused_does_not_run_what_another_one_runs_now() {
    let cluster = Cluster::start(&["a", "b"]).await;
    add(cluster.node("a"), &["fs", "--placement", "any"], &cluster.command("fs")).await;
    let first = runs(cluster.node("a"), "fs", 1, &BTreeSet::new()).await;
    let (paused, other) = (cluster.node(first.first().unwrap()), cluster.other(&first));
    echoes(other, "fs").await;
    let children = paused.tree();
    paused.pause();
    // Its guard kills the server while the node itself can do nothing.
    let second = runs(other, "fs", 1, &first).await;
    echoes(other, "fs").await;
    let is_server = |child: &&spanwire_tests::node::Process| child.command.contains("fault-server");
    assert!(children.iter().any(|child| is_server(&child)), "{children:?}");
    assert!(!children.iter().filter(is_server).any(|child| child.is_running()), "{children:?}");
    paused.resume();
    // It learns that the server is elsewhere, and calls it there.
    assert_eq!(runs(paused, "fs", 1, &first).await, second);
    echoes(paused, "fs").await;
    assert_eq!(cluster.starts("fs"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_run_on_so_many_nodes_and_one_that_leaves_hands_over_without_a_failed_call() {
    let mut cluster = Cluster::start(&["a", "b", "c"]).await;
    // Each replica on a node of its own has a lock of its own: here two of them run at a time.
    let command = vec![env!("CARGO_BIN_EXE_spanwire-fault-server").to_owned()];
    add(cluster.node("a"), &["many", "--placement", "any", "--replicas", "2"], &command).await;
    add(cluster.node("a"), &["one", "--placement", "any"], &cluster.command("one")).await;
    let two = runs(cluster.node("a"), "many", 2, &BTreeSet::new()).await;
    let one = runs(cluster.node("a"), "one", 1, &BTreeSet::new()).await;
    let leaving = one.first().unwrap().clone();
    let stays = cluster.nodes.iter().position(|node| node.id() != leaving).unwrap();
    echoes(&cluster.nodes[stays], "one").await;
    let at = cluster.nodes.iter().position(|node| node.id() == leaving).unwrap();
    let mut node = cluster.nodes.remove(at);
    let caller = cluster.nodes.first().unwrap();
    let terminated = tokio::spawn(async move {
        node.terminate().await.unwrap();
        node
    });
    // Calls of either server go through the whole time.
    let deadline = Instant::now() + STOP_TIMEOUT + MOVE_TIMEOUT;
    let mut calls = 0;
    while !terminated.is_finished() || calls < 50 {
        for id in ["one", "many"] {
            let answer = echo(caller, id).await;
            assert!(answer.is_ok(), "{id} after {calls} calls: {answer:?}");
        }
        calls += 1;
        assert!(Instant::now() < deadline, "the node does not leave");
    }
    drop(terminated.await.unwrap());
    runs(caller, "one", 1, &one).await;
    assert_eq!(cluster.starts("one"), 2);
    let both = runs(caller, "many", 2, &one).await;
    assert_eq!(both.len(), two.len());

    // With one node left there are as many as there are nodes, and that is said.
    let rest: Vec<String> = cluster.nodes.iter().skip(1).map(|node| node.id().to_owned()).collect();
    for id in &rest {
        cluster.node_mut(id).kill().await.unwrap();
    }
    let last = cluster.nodes.first().unwrap();
    eventually("1 of 2 replicas", async || {
        let table = last.command(&["servers"]).await.unwrap();
        String::from_utf8_lossy(&table.stdout).contains("many: 1 of 2 replicas").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_alone_answers_for_its_placed_servers_to_the_end() {
    let command = Value::from(env!("CARGO_BIN_EXE_spanwire-fault-server"));
    let config = format!("[limits]\ndrain_grace_ms = 5000\n\n[servers.fs]\ncommand = {command}\nplacement = \"any\"");
    let mut node = Node::start_as("alone", &config).await.unwrap();
    runs(&node, "fs", 1, &BTreeSet::new()).await;
    let (caller, ready) = (Caller::new(node.mcp_url("")), node.url("readyz"));
    let leaving = tokio::spawn(async move { node.terminate().await });
    eventually("it drains", async || {
        let answer = http_client().get(&ready).send().await.ok()?;
        (answer.status().as_u16() == 503).then_some(())
    })
    .await;
    for _ in 0..10 {
        caller.call("fs__echo", json!({ "text": "x" })).await.unwrap();
    }
    assert_eq!(leaving.await.unwrap().unwrap().code(), Some(0));
}
