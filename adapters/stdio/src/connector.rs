//! Starts a child and connects to it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use spanwire_era::upstream::{Settings, Wire, connect};
use spanwire_mcp::{Era, Json};
use spanwire_model::{Connected, Connector, Error, ErrorKind, Fence, Result, ServerId, ServerSpec, Target};

use crate::{children::Children, process, wire::StdioWire};

/// What starting children needs.
#[derive(Clone)]
pub struct Config {
    /// The program that has the subcommand `guard`: this node's own executable.
    pub guard: PathBuf,
    /// How long a child may take to leave after its stdin was closed, and again after SIGTERM.
    pub grace: Duration,
    /// Longest message of a child, in bytes. A longer one fails only the call it answers.
    pub max_line_bytes: usize,
    /// The handshake.
    pub settings: Settings,
}

impl Config {
    /// A configuration with the defaults; `client_info` is the object `clientInfo`.
    pub fn new(guard: PathBuf, client_info: Json) -> Self {
        Self {
            guard,
            grace: Duration::from_secs(2),
            // What an edge accepts, and room for the envelope.
            max_line_bytes: 16 * 1024 * 1024 + 64 * 1024,
            settings: Settings::new(client_info),
        }
    }
}

/// Connects servers that are child processes.
#[derive(Clone)]
pub struct StdioConnector {
    config: Config,
    children: Arc<Children>,
}

impl StdioConnector {
    /// A connector.
    pub fn new(config: Config) -> Self {
        Self { config, children: Arc::default() }
    }
}

#[async_trait]
impl Connector for StdioConnector {
    async fn connect(&self, spec: &ServerSpec, known: Option<Era>) -> Result<Connected> {
        self.start(spec, known, None).await
    }

    async fn connect_fenced(&self, spec: &ServerSpec, known: Option<Era>, fence: &Fence) -> Result<Connected> {
        self.start(spec, known, Some(fence)).await
    }

    async fn gone(&self, server: &ServerId) {
        self.children.gone(server).await;
    }
}

impl StdioConnector {
    async fn start(&self, spec: &ServerSpec, known: Option<Era>, fence: Option<&Fence>) -> Result<Connected> {
        let target = match &spec.target {
            Target::Stdio(target) => target,
            Target::Http(_) | Target::Builtin(_) => {
                return Err(Error::new(ErrorKind::Internal, format!("server \"{}\" is no child process", spec.id)));
            }
        };
        let child = process::start(&self.config, &spec.id, target, fence)?;
        self.children.note(&spec.id, &child);
        // When this is dropped the child begins to end at once, not when the last task has let go of the wire: so `gone` knows of it.
        let stop = child.stop.clone().drop_guard();
        let (wire, unasked) = StdioWire::over(child, &spec.id, &self.config);
        let connected = connect(&spec.id, wire.clone(), unasked, spec.era, known, &self.config.settings).await;
        match &connected {
            Ok(_) => drop(stop.disarm()),
            // Whoever tries again must not have two of them at a time.
            Err(_) => wire.close().await,
        }
        connected
    }
}
