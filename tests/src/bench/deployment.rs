//! Starts what one group of rows is measured against.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use spanwire_mcp::Era;
use tempfile::TempDir;

use super::{
    client::{Client, Endpoint, Payload},
    meter::Usage,
    plan::{self, Setup},
    process::{Process, free_port},
};

/// How long processes may take until the first right answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries of the first call; the resolution of "start to first answered call".
const START_POLL: Duration = Duration::from_millis(2);
/// Longest that one of these tries may take.
const START_CALL_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_CALL_BYTES: usize = 64;

/// The programs. Those of the workspace lie where cargo put the benchmark itself.
#[derive(Debug)]
pub(super) struct Binaries {
    bench_server: PathBuf,
    spanwire: PathBuf,
    nats_server: Option<PathBuf>,
}

impl Binaries {
    pub(super) fn find() -> anyhow::Result<Self> {
        let own = env::current_exe()?;
        let folder = own.parent().and_then(Path::parent).context("the benchmark lies in no target folder")?;
        let nats_server =
            env::var_os("SPANWIRE_PEERS_DIR").map(|peers| PathBuf::from(peers).join("venv/bin/nats-server"));
        Ok(Self { bench_server: folder.join("spanwire-bench-server"), spanwire: folder.join("spanwire"), nats_server })
    }
}

/// Running processes and the endpoint that leads through them.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) setup: Setup,
    pub(super) endpoint: Arc<Endpoint>,
    /// From the start of the processes under test (the nodes; the server, when there are none) to the first right answer.
    pub(super) first_call: Duration,
    brokers: Vec<Process>,
    _others: Vec<Process>,
    _folder: TempDir,
}

impl Deployment {
    /// Starts the processes and waits for the first right answer. The error names the program that did not play along.
    pub(super) async fn start(setup: Setup, binaries: &Binaries) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("spanwire-bench-")?;
        let mut others = Vec::new();
        let started = Instant::now();
        let server_url = start_server("server", binaries, folder.path(), &mut others)?;
        let (endpoint, mut brokers, started) = match setup.path {
            plan::Path::Direct => (Endpoint::new(&server_url, "echo")?, Vec::new(), started),
            plan::Path::OneNode => {
                let collector = start_server("collector", binaries, folder.path(), &mut others)?;
                let node = Node { id: "a", server_url: Some(&server_url), nats_url: None, collector: &collector };
                let started = Instant::now();
                let (endpoint, process) = node.start(setup, binaries, folder.path())?;
                (endpoint, vec![process], started)
            }
            plan::Path::TwoNodes => {
                let collector = start_server("collector", binaries, folder.path(), &mut others)?;
                let nats = start_nats(binaries, folder.path(), &mut others).await?;
                let inner =
                    Node { id: "a", server_url: Some(&server_url), nats_url: Some(&nats), collector: &collector };
                let outer = Node { id: "b", server_url: None, nats_url: Some(&nats), collector: &collector };
                let started = Instant::now();
                let (_, first) = inner.start(setup, binaries, folder.path())?;
                let (endpoint, second) = outer.start(setup, binaries, folder.path())?;
                (endpoint, vec![first, second], started)
            }
        };
        let endpoint = Arc::new(endpoint);
        first_answer(&endpoint, &mut brokers).await?;
        let first_call = started.elapsed();
        Ok(Self { setup, endpoint, first_call, brokers, _others: others, _folder: folder })
    }

    /// Of all nodes together; `None` when there are none.
    pub(super) fn broker_usage(&self) -> anyhow::Result<Option<Usage>> {
        let add = |sum, process: &Process| anyhow::Ok(sum + Usage::of(process.pid())?);
        let sum = self.brokers.iter().try_fold(Usage::default(), add)?;
        Ok((!self.brokers.is_empty()).then_some(sum))
    }
}

fn start_server(name: &str, binaries: &Binaries, folder: &Path, into: &mut Vec<Process>) -> anyhow::Result<String> {
    let (process, url) = Process::start_for_line(name, &binaries.bench_server, folder)?;
    into.push(process);
    Ok(url)
}

#[derive(Deserialize)]
struct NatsPorts {
    nats: Vec<String>,
}

/// A NATS server on a port of its own choice, with JetStream in the folder.
async fn start_nats(binaries: &Binaries, folder: &Path, into: &mut Vec<Process>) -> anyhow::Result<String> {
    let program = binaries.nats_server.as_ref().context("SPANWIRE_PEERS_DIR is not set: no nats-server")?;
    let store = folder.join("nats");
    let (ports, store) = (folder.to_string_lossy(), store.to_string_lossy());
    let args = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", &ports, "-js", "-sd", &store];
    let mut process = Process::start("nats", program, &args, folder)?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let file = folder.join(format!("{name}_{}.ports", process.pid()));
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let text = fs::read(&file).unwrap_or_default();
        if let Ok(ports) = serde_json::from_slice::<NatsPorts>(&text) {
            into.push(process);
            return ports.nats.into_iter().next().context("nats-server names no port");
        }
        process.ensure_running()?;
        ensure!(Instant::now() < deadline, "nats-server wrote no ports file");
        tokio::time::sleep(START_POLL).await;
    }
}

/// What differs from node to node.
struct Node<'a> {
    id: &'a str,
    server_url: Option<&'a str>,
    nats_url: Option<&'a str>,
    /// Takes spans; a bench server, whose MCP endpoint this is.
    collector: &'a str,
}

impl Node<'_> {
    fn start(&self, setup: Setup, binaries: &Binaries, folder: &Path) -> anyhow::Result<(Endpoint, Process)> {
        let program = &binaries.spanwire;
        ensure!(program.exists(), "there is no {}", program.display());
        let http = free_port()?;
        let config = folder.join(format!("node-{}.toml", self.id));
        fs::write(&config, self.config(setup, http, free_port()?, folder))?;
        let name = format!("node-{}", self.id);
        let process = Process::start(&name, program, &["up", "--config", &config.to_string_lossy()], folder)?;
        Ok((Endpoint::new(&format!("http://127.0.0.1:{http}/mcp"), "bench__echo")?, process))
    }

    fn config(&self, setup: Setup, http: u16, grpc: u16, folder: &Path) -> String {
        let quote = spanwire_mcp::string_literal;
        let data = folder.join(self.id);
        let ratio = setup.tracing.ratio();
        let mut text = format!(
            "[node]\nid = {}\ndata_dir = {}\n\n[listen]\nhttp = \"127.0.0.1:{http}\"\ngrpc = \"127.0.0.1:{grpc}\"\n\n\
             [telemetry]\nlog_filter = \"warn\"\nsample_ratio = {ratio:?}\n",
            quote(self.id),
            quote(&data.to_string_lossy()),
        );
        match setup.tracing {
            plan::Tracing::Off => {}
            plan::Tracing::Tenth | plan::Tracing::All => {
                let endpoint = self.collector.trim_end_matches("/mcp");
                text += &format!("otlp_endpoint = {}\notlp_protocol = \"http\"\n", quote(endpoint));
            }
        }
        if let Some(url) = self.nats_url {
            text += &format!("\n[nats]\nurl = {}\n", quote(url));
        }
        if let Some(url) = self.server_url {
            text += &format!("\n[servers.bench]\nurl = {}\n", quote(url));
        }
        text
    }
}

/// Tries one small call until its answer is right.
async fn first_answer(endpoint: &Arc<Endpoint>, brokers: &mut [Process]) -> anyhow::Result<()> {
    let payload = Payload::new(&endpoint.tool, Era::Modern, FIRST_CALL_BYTES);
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let attempt = async { Client::connect(endpoint, Era::Modern).await?.call(&payload).await };
        let error = match tokio::time::timeout(START_CALL_TIMEOUT, attempt).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer in {START_CALL_TIMEOUT:?}"),
        };
        for broker in brokers.iter_mut() {
            broker.ensure_running()?;
        }
        if Instant::now() > deadline {
            let logs: String = brokers.iter().map(Process::log_tail).collect();
            bail!("no right answer {START_TIMEOUT:?} after the start: {error:#}{logs}");
        }
        tokio::time::sleep(START_POLL).await;
    }
}
