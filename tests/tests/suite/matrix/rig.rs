//! Two nodes on a NATS server, every scripted server on the first of them, and clients that are used again.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use spanwire_mcp::{Revision, string_literal};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::Node,
    scripted::{self, Client, Declared, HttpClient, Options, Server, SseClient, StdioClient, serve_http, serve_sse},
};
use tokio::{
    net::TcpListener,
    sync::{RwLock, Semaphore},
    task::JoinSet,
};

use super::{
    cell::{Cell, Nodes, Peer, Transport, servers},
    waiting,
};

/// Which clients are alike: who, through what, with what capabilities.
type Kind = (Peer, Nodes, String, &'static str, String);

/// What the cells share.
pub(super) struct Rig {
    /// The node with the servers, and the one without.
    pub(super) nodes: [Node; 2],
    _nats: NatsServer,
    folder: tempfile::TempDir,
    _serving: JoinSet<()>,
    idle: Mutex<HashMap<Kind, Vec<Arc<Client>>>>,
    tags: AtomicUsize,
    /// Cells that run on a server; one that must be alone there takes the lock for itself.
    pub(super) turns: HashMap<String, RwLock<()>>,
    /// Places for cells.
    pub(super) places: Semaphore,
}

/// Cells that run at once.
const PLACES: usize = 6;

impl Rig {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nats = NatsServer::start().await.unwrap();
        let mut serving = JoinSet::new();
        let mut tables = String::new();
        for server in servers() {
            let table = listen(server, folder.path(), &mut serving).await.unwrap();
            tables.push_str(&format!("[servers.{}]\n{table}\n", server.id()));
        }
        let common = format!(
            "[limits]\nshutdown_timeout_ms = 2000\npage_size = 60\n{}\n[nats]\nurl = \"{}\"\n{}{}",
            waiting::LIMITS,
            nats.url(),
            "[[principals]]\nname = \"ann\"\ntoken = \"ann-token\"\n",
            "[[principals]]\nname = \"bob\"\ntoken = \"bob-token\"\n",
        );
        let first = format!("{common}\n{tables}");
        let (a, b) = tokio::join!(Node::start_as("a", &first), Node::start_as("b", &common));
        let nodes = [a.unwrap(), b.unwrap()];
        let ready: Vec<String> = servers().map(Peer::id).collect();
        let ready: Vec<&str> = ready.iter().map(String::as_str).collect();
        for node in &nodes {
            node.wait_servers(&ready, ServerState::Ready).await.unwrap();
            node.wait_settled().await.unwrap();
        }
        Self {
            nodes,
            _nats: nats,
            folder,
            _serving: serving,
            idle: Mutex::default(),
            tags: AtomicUsize::new(1),
            turns: servers().map(|server| (server.id(), RwLock::default())).collect(),
            places: Semaphore::new(PLACES),
        }
    }

    /// A tag that nobody has had.
    pub(super) fn tag(&self) -> String {
        scripted::tag(self.tags.fetch_add(1, Ordering::Relaxed))
    }

    /// The tape of a server.
    pub(super) fn tape(&self, server: Peer) -> PathBuf {
        tape(self.folder.path(), server)
    }

    fn kind(cell: &Cell, who: &'static str, capabilities: &Value) -> Kind {
        (cell.client, cell.nodes, cell.view(), who, capabilities.to_string())
    }

    /// A client that nobody uses, opened if there is none.
    pub(super) async fn client(&self, cell: &Cell, who: &'static str, capabilities: Value) -> Result<Arc<Client>> {
        let idle = self.idle.lock().unwrap().get_mut(&Self::kind(cell, who, &capabilities)).and_then(Vec::pop);
        match idle {
            Some(client) => Ok(client),
            None => self.open(cell, who, capabilities).await.with_context(|| format!("the client {}", cell.client)),
        }
    }

    /// Gives a client back for the next one.
    pub(super) fn give_back(&self, cell: &Cell, who: &'static str, client: Arc<Client>) {
        let kind = Self::kind(cell, who, &client.declared().capabilities);
        self.idle.lock().unwrap().entry(kind).or_default().push(client);
    }

    /// Opens a client.
    pub(super) async fn open(&self, cell: &Cell, who: &'static str, capabilities: Value) -> Result<Arc<Client>> {
        let urls: Vec<String> = self.nodes.iter().map(|node| node.mcp_url(&cell.view())).collect();
        let urls = match cell.nodes {
            Nodes::Same => vec![urls[0].clone()],
            Nodes::Other => vec![urls[1].clone()],
            Nodes::Either => urls,
        };
        self.open_at(cell, who, capabilities, urls).await
    }

    /// Opens a client of other endpoints than the cell's.
    pub(super) async fn open_at(
        &self,
        cell: &Cell,
        who: &'static str,
        capabilities: Value,
        urls: Vec<String>,
    ) -> Result<Arc<Client>> {
        let declared = Declared { revision: cell.client.revision, capabilities, name: format!("client-of-{who}") };
        let token = format!("{who}-token");
        let client = match cell.client.transport {
            Transport::Http => HttpClient::open(urls, &token, declared).await?,
            Transport::Stdio => StdioClient::open(&urls[0], &token, declared).await?,
            Transport::Sse => SseClient::open(&urls[0], &token, declared).await?,
        };
        Ok(Arc::new(client))
    }
}

fn tape(folder: &Path, server: Peer) -> PathBuf {
    folder.join(format!("{}.tape", server.id()))
}

/// Starts a server, unless the node does; its table in the configuration.
async fn listen(server: Peer, folder: &Path, serving: &mut JoinSet<()>) -> Result<String> {
    let tape = tape(folder, server);
    if server.transport == Transport::Stdio {
        let (tape, revision) = (string_literal(&tape.to_string_lossy()), server.revision);
        let program = string_literal(env!("CARGO_BIN_EXE_spanwire-fault-server"));
        return Ok(format!("command = {program}\nargs = [\"--scripted\", {tape}, \"{revision}\"]\n"));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let scripted = Server::new(Options { revision: server.revision, also: None, tape })?;
    let sse = server.transport == Transport::Sse;
    serving.spawn(async move {
        let served = if sse { serve_sse(scripted, listener).await } else { serve_http(scripted, listener).await };
        served.unwrap();
    });
    Ok(format!("url = \"http://{address}/{}\"\n", if sse { "sse" } else { "mcp" }))
}

/// Everything that a client of a revision can declare.
pub(super) fn capabilities(revision: Revision) -> Value {
    match revision {
        Revision::V2026_07_28 => json!({
            "elicitation": { "form": {}, "url": {} },
            "sampling": { "tools": {} },
            "roots": {},
            "extensions": {
                scripted::TASKS: {},
                "io.modelcontextprotocol/ui": { "mimeTypes": ["text/html;profile=mcp-app"] },
            },
        }),
        Revision::V2025_11_25 => json!({
            "elicitation": { "form": {}, "url": {} },
            "sampling": { "tools": {} },
            "roots": { "listChanged": true },
        }),
        Revision::V2025_06_18 => json!({ "elicitation": {}, "sampling": {}, "roots": { "listChanged": true } }),
        Revision::V2025_03_26 | Revision::V2024_11_05 => json!({ "sampling": {}, "roots": { "listChanged": true } }),
    }
}
