//! A call is executed at most once, and exactly once when it is acknowledged, whatever breaks: each call has a mark, and the servers
//! write down every mark that they are given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::json;
use spanwire_tests::{
    nats::{NatsServer, Proxy},
    node::Node,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    eventually,
    rig::{self, sections},
    server::{Kind, Server},
};

/// Calls at a time.
const WORKERS: usize = 8;
/// Acknowledged calls that are waited for in each phase.
const PHASE: usize = 60;

/// What a caller was told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Done,
    /// Nothing was executed.
    Safe,
    /// It may have been.
    Unknown,
}

/// A node that clients talk to, with a replica that takes one call at a time, and two others that the rest goes to.
struct Cluster {
    _nats: NatsServer,
    /// What the first replica's node has to the bus.
    line: Proxy,
    near: Node,
    own: Server,
    replicas: Vec<(Node, Server)>,
    told: Arc<Mutex<HashMap<String, Told>>>,
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

impl Cluster {
    async fn start() -> Self {
        let nats = NatsServer::start().await.unwrap();
        let line = Proxy::start(nats.address()).await.unwrap();
        let bare = sections(Some(&nats), "call_timeout_ms = 12000");
        let own = Server::new("pair", Kind::StdioModern).await;
        let near = Node::start(&format!("{bare}\n{}", own.config("max_in_flight = 1"))).await.unwrap();
        let mut replicas = Vec::new();
        for way in [bare.replace(&nats.url(), &line.url()), bare] {
            let server = Server::new("pair", Kind::StdioModern).await;
            let node = Node::start(&format!("{way}\n{}", server.config("max_in_flight = 2"))).await.unwrap();
            replicas.push((node, server));
        }
        rig::answers(&Client::new(near.mcp_url("")), &own).await;
        let (told, stop) = (Arc::default(), CancellationToken::new());
        let mut cluster = Self { _nats: nats, line, near, own, replicas, told, stop, workers: Vec::new() };
        for worker in 0..WORKERS {
            let (told, stop) = (cluster.told.clone(), cluster.stop.clone());
            cluster.workers.push(tokio::spawn(work(worker, Client::new(cluster.near.mcp_url("")), told, stop)));
        }
        for at in 0..2 {
            cluster.counts_on(at).await;
        }
        cluster
    }

    fn done(&self) -> usize {
        self.told.lock().unwrap().values().filter(|told| **told == Told::Done).count()
    }

    /// Waits until calls succeed again, as many as a phase has.
    async fn goes_on(&self) {
        let wanted = self.done() + PHASE;
        let look = async || (self.done() >= wanted).then_some(());
        eventually("calls go on", look).await;
    }

    /// Waits until a replica is given further calls.
    async fn counts_on(&self, at: usize) {
        let (_, server) = &self.replicas[at];
        let before = server.journal().len();
        let look = async || (server.journal().len() > before + 5).then_some(());
        eventually("the replica is used again", look).await;
    }

    /// Ends the load, and compares what was told with what was written down.
    async fn settle(self) {
        self.stop.cancel();
        for worker in self.workers {
            worker.await.unwrap();
        }
        let mut counted: HashMap<String, usize> = HashMap::new();
        for server in self.replicas.iter().map(|(_, server)| server).chain([&self.own]) {
            for line in server.journal() {
                if let Some(mark) = line.strip_prefix("counted ") {
                    *counted.entry(mark.to_owned()).or_default() += 1;
                }
            }
        }
        let told = self.told.lock().unwrap().clone();
        let mut sums = HashMap::new();
        for (mark, told) in &told {
            let count = counted.get(mark).copied().unwrap_or(0);
            let is_right = match told {
                Told::Done => count == 1,
                Told::Safe => count == 0,
                Told::Unknown => count <= 1,
            };
            assert!(is_right, "{mark} was executed {count} times, and its caller was told {told:?}");
            *sums.entry(format!("{told:?}")).or_insert(0) += 1;
        }
        let surplus: Vec<_> = counted.iter().filter(|(_, count)| **count > 1).collect();
        assert!(surplus.is_empty(), "executed more than once: {surplus:?}");
        assert!(counted.keys().all(|mark| told.contains_key(mark)), "executed, and nobody asked");
        println!("calls by what their callers were told: {sums:?}");
        rig::falls_silent(&self.near).await;
    }
}

/// Calls one after the other, each with a mark of its own.
async fn work(worker: usize, client: Client, told: Arc<Mutex<HashMap<String, Told>>>, stop: CancellationToken) {
    for n in 0_u32.. {
        if stop.is_cancelled() {
            return;
        }
        let mark = format!("{worker}-{n}");
        let answer = client.call("pair__count", json!({ "mark": mark, "ms": 5 })).await;
        let outcome = match answer.ok() {
            Some(_) => Told::Done,
            None => match (&*answer.condition().kind, &*answer.condition().retry) {
                ("unavailable" | "overloaded", "safe") => Told::Safe,
                ("stream_lost" | "deadline_exceeded", "if_idempotent") => Told::Unknown,
                _ => panic!("{}", answer.body),
            },
        };
        told.lock().unwrap().insert(mark, outcome);
    }
}

#[tokio::test]
async fn calls_are_counted_once_when_a_node_is_killed() {
    let mut cluster = Cluster::start().await;
    for _ in 0..2 {
        cluster.replicas[0].0.kill().await.unwrap();
        cluster.goes_on().await;
        cluster.replicas[0].0.restart().await.unwrap();
        cluster.counts_on(0).await;
    }
    cluster.settle().await;
}

#[tokio::test]
async fn calls_are_counted_once_when_a_node_stands_still() {
    let cluster = Cluster::start().await;
    cluster.replicas[0].0.pause();
    // Its silence is noticed, and the rest goes on without it.
    let look = async || {
        let state = cluster.near.command_json(&["status", "--json"]).await.unwrap().to_string();
        state.contains("suspect").then_some(())
    };
    eventually("the node is suspect", look).await;
    cluster.goes_on().await;
    cluster.replicas[0].0.resume();
    cluster.counts_on(0).await;
    cluster.settle().await;
}

#[tokio::test]
async fn calls_are_counted_once_when_a_node_is_cut_off() {
    let cluster = Cluster::start().await;
    for _ in 0..3 {
        cluster.line.cut();
        cluster.goes_on().await;
        cluster.line.mend();
        cluster.counts_on(0).await;
    }
    cluster.settle().await;
}

#[tokio::test]
async fn calls_are_counted_once_when_a_server_dies_and_when_a_node_leaves() {
    let mut cluster = Cluster::start().await;
    let (node, _) = &cluster.replicas[0];
    for process in node.tree().iter().filter(|process| process.command.contains("fault-server")) {
        process.kill();
    }
    cluster.counts_on(0).await;
    let (node, _) = &mut cluster.replicas[1];
    node.stop().await.unwrap();
    cluster.goes_on().await;
    cluster.replicas[1].0.restart().await.unwrap();
    cluster.counts_on(1).await;
    cluster.settle().await;
}
