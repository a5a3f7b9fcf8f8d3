//! The five servers behind one node, or behind two on a NATS server.

use std::path::PathBuf;

use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::Node,
    peers::{FastMcp, Peers, Program, Via, fill_folder, http_config},
};

use super::rust_peer::RustPeer;

/// How many nodes there are, and which has which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    /// One node has all servers.
    One,
    /// Node a has everything and memory, node b has the others.
    Two,
}

/// Every server of the federation.
pub(super) const SERVERS: [&str; 5] = ["everything", "fastmcp", "filesystem", "memory", "rust"];
/// Those of node a, in [`Topology::Two`].
const SERVERS_OF_A: [&str; 2] = ["everything", "memory"];

pub(super) struct Deployment {
    pub(super) peers: Peers,
    /// The nodes: a, and b if there is one.
    pub(super) nodes: Vec<Node>,
    pub(super) nats: Option<NatsServer>,
    fastmcp: FastMcp,
    rust: RustPeer,
    folder: tempfile::TempDir,
}

impl Deployment {
    pub(super) async fn start(topology: Topology) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fill_folder(&folder.path().join("files")).unwrap();
        let (fastmcp, rust) = tokio::join!(FastMcp::start(), RustPeer::start());
        let mut deployment = Self {
            peers: Peers::find().unwrap(),
            nodes: Vec::new(),
            nats: None,
            fastmcp: fastmcp.unwrap(),
            rust,
            folder,
        };
        let config = |keep: &dyn Fn(&str) -> bool| -> String {
            SERVERS.iter().filter(|id| keep(id)).map(|id| deployment.config(id)).collect()
        };
        let nodes = match topology {
            Topology::One => vec![Node::start_as("a", &config(&|_| true)).await.unwrap()],
            Topology::Two => {
                let nats = NatsServer::start().await.unwrap();
                let bus = format!("[nats]\nurl = \"{}\"\n", nats.url());
                let a = bus.clone() + &config(&|id| SERVERS_OF_A.contains(&id));
                let b = bus + &config(&|id| !SERVERS_OF_A.contains(&id));
                let (a, b) = tokio::join!(Node::start_as("a", &a), Node::start_as("b", &b));
                deployment.nats = Some(nats);
                vec![a.unwrap(), b.unwrap()]
            }
        };
        deployment.nodes = nodes;
        for node in &deployment.nodes {
            node.wait_servers(&SERVERS, ServerState::Ready).await.unwrap();
            node.wait_settled().await.unwrap();
        }
        deployment
    }

    /// The node that the server is attached to.
    pub(super) fn home(&self, server: &str) -> &Node {
        if SERVERS_OF_A.contains(&server) { &self.nodes[0] } else { &self.nodes[self.nodes.len() - 1] }
    }

    /// A node that the server is not attached to, where there is one.
    pub(super) fn away(&self, server: &str) -> &Node {
        if SERVERS_OF_A.contains(&server) { &self.nodes[self.nodes.len() - 1] } else { &self.nodes[0] }
    }

    /// The folder that the filesystem server may read.
    pub(super) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// The server without the broker. The memory server has a graph of its own then.
    pub(super) fn direct(&self, server: &str) -> Via {
        match server {
            "fastmcp" => Via::Http(self.fastmcp.url().to_owned()),
            "rust" => Via::Http(self.rust.url().to_owned()),
            server => Via::Stdio(self.program(server, "direct.json")),
        }
    }

    fn config(&self, server: &str) -> String {
        match server {
            "fastmcp" => http_config(server, self.fastmcp.url()),
            "rust" => http_config(server, self.rust.url()),
            server => self.program(server, "brokered.json").config(server),
        }
    }

    fn program(&self, server: &str, graph: &str) -> Program {
        match server {
            "everything" => self.peers.everything(),
            "filesystem" => self.peers.filesystem(&self.files()),
            "memory" => self.peers.memory(&self.folder.path().join(graph)),
            other => panic!("{other} is no program"),
        }
    }
}
