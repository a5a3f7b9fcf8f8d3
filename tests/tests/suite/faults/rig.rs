//! One node, or two with a real NATS between them; and what nodes hold while nothing runs.

use std::{fmt, fs};

use serde_json::json;
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, Process},
};

use super::{client::Client, eventually, server::Server};

/// Where the server is, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Attached to the node that the client talks to.
    Here,
    /// Attached to another node.
    Across,
}

impl Reach {
    pub(super) const BOTH: [Self; 2] = [Self::Here, Self::Across];
}

/// The nodes of a test.
pub(super) struct Rig {
    /// The node that the client talks to.
    pub(super) near: Node,
    /// The node that the servers are attached to, when it is another one.
    pub(super) far: Option<Node>,
    pub(super) nats: Option<NatsServer>,
    pub(super) client: Client,
}

/// What a node holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    files: usize,
    threads: usize,
    processes: usize,
}

/// Sections that every node of these tests has; `limits` are lines of `[limits]`.
pub(super) fn sections(nats: Option<&NatsServer>, limits: &str) -> String {
    let nats = nats.map(|nats| format!("[nats]\nurl = \"{}\"\n", nats.url())).unwrap_or_default();
    let drain = if limits.contains("shutdown_timeout_ms") { "" } else { "shutdown_timeout_ms = 2000" };
    format!("[limits]\n{drain}\n{limits}\n{nats}")
}

impl Rig {
    /// Starts nodes with these servers, each with lines of its own, and waits until each answers the client.
    pub(super) async fn start(reach: Reach, limits: &str, servers: &[(&Server, &str)]) -> Self {
        let rig = Self::start_silent(reach, limits, servers).await;
        for (server, _) in servers {
            rig.answers(server).await;
        }
        rig
    }

    /// The same without waiting.
    pub(super) async fn start_silent(reach: Reach, limits: &str, servers: &[(&Server, &str)]) -> Self {
        let nats = match reach {
            Reach::Here => None,
            Reach::Across => Some(NatsServer::start().await.unwrap()),
        };
        let bare = sections(nats.as_ref(), limits);
        let tables: String = servers.iter().map(|(server, settings)| server.config(settings)).collect();
        let attached = Node::start(&format!("{bare}\n{tables}")).await.unwrap();
        let (near, far) = match reach {
            Reach::Here => (attached, None),
            Reach::Across => (Node::start(&bare).await.unwrap(), Some(attached)),
        };
        let client = Client::new(near.mcp_url(""));
        Self { near, far, nats, client }
    }

    /// The node that the servers are attached to.
    pub(super) fn home(&self) -> &Node {
        self.far.as_ref().unwrap_or(&self.near)
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.near).chain(&self.far)
    }

    /// Waits until a server answers.
    pub(super) async fn answers(&self, server: &Server) {
        answers(&self.client, server).await;
    }

    /// Waits until nothing runs on any node: no call, no session, no request on the backbone.
    pub(super) async fn falls_silent(&self) {
        for node in self.nodes() {
            falls_silent(node).await;
        }
    }

    /// Ends the nodes as an operator would; fails when one leaves a process behind.
    pub(super) async fn stop(mut self) {
        self.near.stop().await.unwrap();
        if let Some(far) = &mut self.far {
            far.stop().await.unwrap();
        }
    }
}

/// Waits until a server answers this client.
pub(super) async fn answers(client: &Client, server: &Server) {
    let tool = server.tool("echo");
    let look = async || client.call(&tool, json!({ "text": "there" })).await.ok().map(|text| assert_eq!(text, "there"));
    eventually(&format!("{:?} server \"{}\" answers", server.kind, server.id), look).await;
}

/// Waits until nothing runs on a node.
pub(super) async fn falls_silent(node: &Node) {
    const GAUGES: [&str; 3] = ["spanwire_calls_in_flight", "spanwire_sessions", "spanwire_backbone_in_flight"];
    let look = async || {
        let metrics = node.metrics().await.unwrap();
        let all_zero = GAUGES.iter().all(|gauge| {
            assert!(metrics.contains(&format!("\n{gauge} ")), "no {gauge} in {metrics}");
            spanwire_tests::node::sum_of(&metrics, gauge, &[]) == 0.0
        });
        all_zero.then_some(())
    };
    eventually(&format!("node {} has nothing in flight", node.id()), look).await;
}

impl Held {
    /// What a node holds now.
    pub(super) fn by(node: &Node) -> Self {
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", node.pid())).unwrap().count();
        Self { files: count("fd"), threads: count("task"), processes: node.tree().len() }
    }

    /// Waits until the node holds no more than before.
    pub(super) async fn is_back(self, node: &Node) {
        self.is_back_but_for(node, 0).await;
    }

    /// Waits until the node holds no more than before, but for so many idle connections that it keeps to an HTTP server.
    pub(super) async fn is_back_but_for(self, node: &Node, idle: usize) {
        const FILES: usize = 6;
        const THREADS: usize = 8;
        let look = async || {
            let now = Self::by(node);
            let back = now.files <= self.files + FILES + idle
                && now.threads <= self.threads + THREADS
                && now.processes == self.processes;
            back.then_some(())
        };
        eventually(&format!("node {} holds what it held, {self}", node.id()), look).await;
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files, {} threads, {} processes", self.files, self.threads, self.processes)
    }
}

/// Waits until none of the processes is left.
pub(super) async fn gone(processes: &[Process]) {
    let left = Node::wait_gone(processes, super::PATIENCE).await;
    assert!(left.is_empty(), "still running: {left:?}");
}

/// Kills one process of a node's own tree.
pub(super) fn kill(node: &Node, pid: u32) {
    let tree = node.tree();
    tree.iter().find(|process| process.pid == pid).unwrap_or_else(|| panic!("{pid} is not in {tree:?}")).kill();
}
