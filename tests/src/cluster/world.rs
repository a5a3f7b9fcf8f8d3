//! Three nodes on three NATS servers, each node with a line of its own to each server, and one server that counts and may run anywhere.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use spanwire_mcp::string_literal;
use tokio::time::{Instant, sleep, timeout};

use super::{
    bus::{Bus, SERVERS},
    disk::Disk,
    folder,
    ground::Ground,
    net::Line,
};
use crate::{
    nats::Passage,
    node::{Node, http_client, program},
};

/// Nodes of the cluster.
pub const NODES: usize = 3;
/// The id of the server that counts.
pub const COUNTER: &str = "counter";
/// Longest that a node may take to be ready: its servers, its log and the others.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that one look at a node may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines of a node's log that are told when a run fails.
const LOG_LINES: usize = 80;
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where a node is reached at the moment; it has new ports after each start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://HOST:PORT/mcp`.
    pub mcp_url: String,
    /// `http://HOST:PORT` of the control API.
    pub grpc_url: String,
    /// The operator's token.
    pub token: String,
}

/// Where all nodes are reached, for clients that outlive them. Clones show the same.
#[derive(Debug, Clone)]
pub struct Endpoints(Arc<RwLock<Vec<Endpoint>>>);

impl Endpoints {
    /// Where these nodes are reached now.
    ///
    /// # Errors
    /// When a node has no token.
    pub fn of_nodes<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Result<Self> {
        let endpoints = nodes.into_iter().map(endpoint).collect::<Result<Vec<_>>>()?;
        Ok(Self(Arc::new(RwLock::new(endpoints))))
    }

    /// Where a node was reached last.
    pub fn of(&self, node: usize) -> Endpoint {
        self.0.read().unwrap_or_else(PoisonError::into_inner)[node].clone()
    }

    fn set(&self, node: usize, endpoint: Endpoint) {
        self.0.write().unwrap_or_else(PoisonError::into_inner)[node] = endpoint;
    }
}

/// The cluster. Dropping it ends every process of it.
pub struct World {
    /// The NATS servers.
    pub bus: Bus,
    /// The lines of each node to each server.
    lines: Vec<Vec<Line>>,
    nodes: Vec<Node>,
    disks: Vec<Option<Disk>>,
    endpoints: Endpoints,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts everything, and waits until every node is ready.
    pub async fn start(ground: &Ground) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bus = Bus::start(ground).await?;
        let (mut places, mut disks, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..NODES {
            let (place, disk) = ground.place(folder.path(), name_of(index))?;
            let to_each = bus.addresses().into_iter().map(|server| ground.net.line(place.ip, server));
            lines.push(try_join_all(to_each).await?);
            places.push(place);
            disks.push(disk);
        }
        let counter = counter(&folder.path().join("counted"))?;
        let start = places.into_iter().zip(&lines).enumerate().map(async |(index, (place, lines))| {
            let urls: Vec<String> = lines.iter().map(|line| format!("nats://{}", line.address())).collect();
            let limits = "[limits]\nshutdown_timeout_ms = 3000\ncall_timeout_ms = 10000\n";
            let fragment = format!("{limits}[nats]\nurl = \"{}\"\n{counter}", urls.join(","));
            Node::start_at(name_of(index), &fragment, &[], place).await
        });
        let nodes = try_join_all(start).await?;
        let endpoints = Endpoints::of_nodes(&nodes)?;
        let world = Self { bus, lines, nodes, disks, endpoints, folder };
        for index in 0..NODES {
            world.wait_ready(index).await?;
        }
        Ok(world)
    }

    /// Where the nodes are reached, now and later.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
    }

    /// A node, to look at.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// The marks of the calls that were executed, one a line, each as often as it was.
    pub fn counted(&self) -> String {
        let journal = fs::read_to_string(self.folder.path().join("counted")).unwrap_or_default();
        let marks = journal.lines().filter_map(|line| line.strip_prefix("counted "));
        marks.map(|mark| format!("{mark}\n")).collect()
    }

    /// SIGKILL.
    pub async fn kill(&mut self, index: usize) -> Result<()> {
        self.nodes[index].kill().await
    }

    /// SIGTERM, after which it must end well and leave no process.
    pub async fn stop(&mut self, index: usize) -> Result<()> {
        self.nodes[index].stop().await
    }

    /// Starts a node again, on new ports, and waits until it listens.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        let node = &mut self.nodes[index];
        node.restart()
            .await
            .with_context(|| format!("node {} did not start again; its log:\n{}", node.id(), node.log()))?;
        self.endpoints.set(index, endpoint(&self.nodes[index])?);
        Ok(())
    }

    /// Changes what passes between a node and one of the servers.
    pub fn set_line(&self, node: usize, server: usize, passage: Passage) -> Result<()> {
        self.lines[node][server].set(passage)
    }

    /// Changes what passes between a node and all servers.
    pub fn set_lines(&self, node: usize, passage: Passage) -> Result<()> {
        (0..SERVERS).try_for_each(|server| self.set_line(node, server, passage))
    }

    /// How long each call takes by which a node puts something on its disk. Without effect where that is not possible.
    pub fn set_disk(&self, node: usize, delay: Duration) -> Result<()> {
        self.disks[node].as_ref().map_or(Ok(()), |disk| disk.set(delay))
    }

    /// Keeps a copy of the folder of a node that does not run.
    pub fn copy_data(&self, index: usize) -> Result<PathBuf> {
        let copy = self.folder.path().join(format!("copy-of-{}", name_of(index)));
        folder::replace(&copy, &self.nodes[index].data())?;
        Ok(copy)
    }

    /// Puts such a copy in the place of the folder of a node that does not run.
    pub fn roll_back(&self, index: usize, copy: &std::path::Path) -> Result<()> {
        folder::replace(&self.nodes[index].data(), copy)
    }

    /// Writes what the nodes said last to stderr, for whoever asks why a run failed.
    pub fn tell(&self) {
        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("--- the last lines of node {}\n{last}\n---", node.id());
        }
    }

    /// Waits until a node says that it is ready.
    pub async fn wait_ready(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let answer = timeout(LOOK_TIMEOUT, http_client().get(node.url("/readyz")).send()).await;
            if matches!(&answer, Ok(Ok(response)) if response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "node {} was not ready within {READY_TIMEOUT:?}: {answer:?}; its log:\n{}",
                    node.id(),
                    node.log()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The id of a node.
pub fn name_of(index: usize) -> &'static str {
    ["a", "b", "c"][index % NODES]
}

fn endpoint(node: &Node) -> Result<Endpoint> {
    Ok(Endpoint { mcp_url: node.mcp_url(""), grpc_url: format!("http://{}", node.grpc()), token: node.token()? })
}

/// The section of the server that counts: started on one node at a time, whichever that is.
fn counter(journal: &std::path::Path) -> Result<String> {
    let program = program()?.with_file_name("spanwire-fault-server");
    ensure!(program.is_file(), "there is no {}: run `cargo build --workspace --bins` first", program.display());
    let (program, journal) = (program.to_string_lossy(), journal.to_string_lossy());
    let (program, journal) = (string_literal(&program), string_literal(&journal));
    Ok(format!("[servers.{COUNTER}]\ncommand = {program}\nargs = [\"--journal\", {journal}]\nplacement = \"any\"\n"))
}
