//! The reference server, directly and behind nodes.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    nats::NatsServer,
    node::Node,
    peers::{Program, http_config},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Longest that the reference server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A way from the suite to the reference server. Each has a server process of its own, for scenarios change its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Without the broker.
    Direct,
    /// One node; the server is spoken to in the era of the client.
    One,
    /// Two nodes over NATS; the client is at the one that does not have the server.
    Two,
    /// One node; the server is its child process.
    Stdio,
    /// One node; the server is spoken to in the other era.
    Crossed,
    /// The same across two nodes.
    CrossedTwo,
    /// The same as a child process.
    CrossedStdio,
}

impl Way {
    pub(super) const ALL: [Self; 7] =
        [Self::Direct, Self::One, Self::Two, Self::Stdio, Self::Crossed, Self::CrossedTwo, Self::CrossedStdio];

    /// Its name in `expected.txt`, and of the server behind the broker.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::One => "one",
            Self::Two => "two",
            Self::Stdio => "stdio",
            Self::Crossed => "crossed",
            Self::CrossedTwo => "crossed-two",
            Self::CrossedStdio => "crossed-stdio",
        }
    }

    fn is_crossed(self) -> bool {
        matches!(self, Self::Crossed | Self::CrossedTwo | Self::CrossedStdio)
    }

    fn is_across_nodes(self) -> bool {
        matches!(self, Self::Two | Self::CrossedTwo)
    }

    fn is_stdio(self) -> bool {
        matches!(self, Self::Stdio | Self::CrossedStdio)
    }

    /// `era` of the server's entry.
    fn era(self, is_modern: bool) -> &'static str {
        match (is_modern, self.is_crossed()) {
            // What a user would have: the broker finds out.
            (true, false) => "auto",
            (true, true) | (false, false) => "legacy",
            (false, true) => "modern",
        }
    }
}

/// The reference server over HTTP. It is killed when this is dropped.
struct Reference {
    _process: Child,
    url: String,
}

impl Reference {
    async fn start() -> Result<Self> {
        let mut command = Command::new("node");
        command.arg(reference_program()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("cannot start the reference server")?;
        let mut lines = BufReader::new(process.stdout.take().context("stdout is no pipe")?).lines();
        let url = timeout(START_TIMEOUT, lines.next_line()).await.context("the reference server does not listen")??;
        Ok(Self { _process: process, url: url.context("the reference server ended")? })
    }
}

/// A file of `tests/conformance`.
pub(super) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name)
}

fn reference_program() -> PathBuf {
    file("server.mjs")
}

/// All ways for the clients of one era.
pub(super) struct Deployment {
    references: Vec<(Way, Reference)>,
    /// Has the servers of one node.
    solo: Node,
    /// Has no servers, and is on the bus with `home`.
    away: Node,
    /// Has the servers of two nodes.
    home: Node,
    _nats: NatsServer,
}

impl Deployment {
    pub(super) async fn start(is_modern: bool) -> Result<Self> {
        let mut references = Vec::new();
        let (mut solo, mut home) = (String::new(), String::new());
        for way in Way::ALL {
            let mut entry = if way.is_stdio() {
                Program::new("node", [reference_program().as_path(), Path::new("--stdio")]).config(way.name())
            } else {
                let reference = Reference::start().await?;
                let entry = http_config(way.name(), &reference.url);
                references.push((way, reference));
                entry
            };
            entry.push_str(&format!("era = \"{}\"\n", way.era(is_modern)));
            match way {
                Way::Direct => {}
                _ if way.is_across_nodes() => home.push_str(&entry),
                _ => solo.push_str(&entry),
            }
        }
        let nats = NatsServer::start().await?;
        let bus = format!("[nats]\nurl = \"{}\"\n", nats.url());
        let home = bus.clone() + &home;
        let (solo, away, home) = tokio::try_join!(
            Node::start_as("solo", &solo),
            Node::start_as("away", &bus),
            Node::start_as("home", &home)
        )?;
        let deployment = Self { references, solo, away, home, _nats: nats };
        let names = |across: bool| {
            let ways = Way::ALL.into_iter().filter(move |way| *way != Way::Direct && way.is_across_nodes() == across);
            ways.map(Way::name).collect::<Vec<_>>()
        };
        deployment.solo.wait_servers(&names(false), ServerState::Ready).await?;
        deployment.home.wait_servers(&names(true), ServerState::Ready).await?;
        deployment.away.wait_servers(&names(true), ServerState::Ready).await?;
        deployment.away.wait_settled().await?;
        Ok(deployment)
    }

    /// What the suite is pointed at.
    pub(super) fn url(&self, way: Way) -> String {
        match way {
            Way::Direct => {
                self.references.iter().find(|(of, _)| *of == way).map(|(_, found)| found.url.clone()).unwrap()
            }
            Way::One | Way::Stdio | Way::Crossed | Way::CrossedStdio => self.solo.mcp_url(way.name()),
            Way::Two | Way::CrossedTwo => self.away.mcp_url(way.name()),
        }
    }

    /// Ends the nodes, which must leave nothing behind.
    pub(super) async fn stop(mut self) -> Result<()> {
        tokio::try_join!(self.solo.stop(), self.away.stop(), self.home.stop()).map(drop)
    }
}
