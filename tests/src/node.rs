//! A node of the broker as a user runs it: the real binary, started with `spanwire up`, on ports and in a folder of its own.

mod caller;
mod control;
mod log;
mod place;
mod tree;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

pub use self::caller::{Caller, Messages};
pub use self::control::{Broker, Contexts, in_state};
use self::log::{Lines, Log};
pub use self::place::Place;
pub use self::tree::{Process, Signal, descendants, signal};

/// Longest that a node may take to listen, and a server to reach a state.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that a node may take to end after SIGTERM: its own time to drain twice, and some.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest that a child process may outlive its node.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that a command of the command line may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// The file of the operator's token in the data folder.
const TOKEN_FILE: &str = "operator.token";

/// A running node. Dropping it kills it and all that it started, by their ids, and shows its log when the test failed.
pub struct Node {
    id: String,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    place: Place,
    child: Child,
    pid: u32,
    http: SocketAddr,
    grpc: SocketAddr,
    log: Log,
}

/// The binary under test, beside the folder of the test executable.
pub fn program() -> Result<PathBuf> {
    let test = env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("the test executable has no folder")?;
    let program = folder.join("spanwire");
    ensure!(program.is_file(), "there is no {}: run `cargo build --workspace --bins` first", program.display());
    Ok(program)
}

impl Node {
    /// Starts a node whose configuration is `fragment` and what every node of the tests has: an id of its own, a new folder
    /// for state, and free ports. The fragment may hold every section but `[node]` and `[listen]`. Returns when the node
    /// listens; its servers may still be starting: see [`Node::wait_servers`].
    pub async fn start(fragment: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = format!("node-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self::start_as(&id, fragment).await
    }

    /// The same under an id.
    pub async fn start_as(id: &str, fragment: &str) -> Result<Self> {
        Self::start_with(id, fragment, &[]).await
    }

    /// The same with variables of the environment.
    pub async fn start_with(id: &str, fragment: &str, environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_at(id, fragment, environment, Place::default()).await
    }

    /// The same somewhere else.
    pub async fn start_at(id: &str, fragment: &str, environment: &[(&str, &str)], place: Place) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = spanwire_mcp::string_literal(&folder.path().join("data").to_string_lossy());
        let Place { ip, .. } = &place;
        // Whoever else can reach it is a part of the same test.
        let open = if ip.is_loopback() { "" } else { "allow_unauthenticated_remote = true\n" };
        let text = format!(
            "[node]\nid = \"{id}\"\ndata_dir = {data}\n\n[listen]\nhttp = \"{ip}:0\"\ngrpc = \"{ip}:0\"\n{open}\n{fragment}\n"
        );
        fs::write(folder.path().join("spanwire.toml"), text)?;
        let environment: Vec<_> = environment.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let log = Log::default();
        let running = run(folder.path(), &environment, &place, &log).await;
        let (child, listening) =
            running.with_context(|| format!("node {id} did not start; its log:\n{}", log.text()))?;
        let pid = child.id().context("the node has no process id")?;
        let (http, grpc) = addresses(&listening)?;
        Ok(Self { id: id.to_owned(), folder, environment, place, child, pid, http, grpc, log })
    }

    /// Starts the node again after [`Node::kill`] or [`Node::stop`], with its configuration and its state, on new ports.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "node {} is running", self.id);
        let (child, listening) = run(self.folder.path(), &self.environment, &self.place, &self.log).await?;
        self.pid = child.id().context("the node has no process id")?;
        self.child = child;
        (self.http, self.grpc) = addresses(&listening)?;
        Ok(())
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where HTTP answers.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where gRPC answers.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("spanwire.toml")
    }

    /// Its folder for state.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `http://HOST:PORT/mcp`, or of a view `http://HOST:PORT/mcp/VIEW`; the federated view is "".
    pub fn mcp_url(&self, view: &str) -> String {
        let slash = if view.is_empty() { "" } else { "/" };
        format!("http://{}/mcp{slash}{view}", self.http)
    }

    /// `http://HOST:PORT/PATH`, for the paths beside `/mcp`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{}", self.http, path.trim_start_matches('/'))
    }

    /// The operator's token.
    pub fn token(&self) -> Result<String> {
        Ok(fs::read_to_string(self.data().join(TOKEN_FILE))?.trim().to_owned())
    }

    /// What the node has written on stdout and stderr until now.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// `GET /metrics`.
    pub async fn metrics(&self) -> Result<String> {
        let response = http_client().get(self.url("/metrics")).send().await?.error_for_status()?;
        Ok(String::from_utf8(response.bytes().await?.to_vec())?)
    }

    /// The sum of the samples of a metric whose line holds all of `labels`, such as `state="ready"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        Ok(sum_of(&self.metrics().await?, name, labels))
    }

    /// Runs the command line against this node, as its operator, and returns how it ended and what it printed.
    pub async fn command(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(program()?);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        for (key, value) in self.client_environment()? {
            command.env(key, value);
        }
        timeout(COMMAND_TIMEOUT, command.output())
            .await
            .with_context(|| format!("spanwire {args:?} did not end"))?
            .with_context(|| format!("spanwire {args:?}"))
    }

    /// The same for a command that prints JSON and must end well.
    pub async fn command_json(&self, args: &[&str]) -> Result<Value> {
        let output = self.command(args).await?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "spanwire {args:?} ended with {}: {stdout}{stderr}", output.status);
        serde_json::from_str(&stdout).with_context(|| format!("spanwire {args:?} printed no JSON: {stdout}"))
    }

    /// The variables that bring a command of the command line to this node.
    pub fn client_environment(&self) -> Result<Vec<(String, String)>> {
        Ok(vec![
            ("SPANWIRE_NODE".to_owned(), format!("http://{}", self.grpc)),
            ("SPANWIRE_TOKEN".to_owned(), self.token()?),
            ("SPANWIRE_CONFIG".to_owned(), self.config().to_string_lossy().into_owned()),
            ("SPANWIRE_URL".to_owned(), self.mcp_url("")),
        ])
    }

    /// Every process below the node at this moment: guards, servers, and what those started.
    pub fn tree(&self) -> Vec<Process> {
        descendants(self.pid)
    }

    /// SIGKILL, as a crash: nothing is said to anybody. Returns when the process is gone; its children may end later.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// SIGSTOP: the process keeps its connections and says nothing, as on a machine that hangs.
    pub fn pause(&self) {
        signal(self.pid, Signal::STOP);
    }

    /// SIGCONT: goes on, without knowing that time has passed.
    pub fn resume(&self) {
        signal(self.pid, Signal::CONT);
    }

    /// SIGTERM. Fails unless the node ends with exit code 0 in time and no process that it started is left.
    pub async fn stop(&mut self) -> Result<()> {
        let tree = self.tree();
        let status = self.terminate().await?;
        ensure!(status.code() == Some(0), "node {} ended with {status} after SIGTERM", self.id);
        let left = tree::wait_gone(&tree, ORPHAN_TIMEOUT).await;
        ensure!(left.is_empty(), "node {} left processes behind: {left:?}", self.id);
        Ok(())
    }

    /// SIGTERM, and how the node ended.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        signal(self.pid, Signal::TERM);
        let ended = timeout(STOP_TIMEOUT, self.child.wait()).await;
        Ok(ended.with_context(|| format!("node {} did not end within {STOP_TIMEOUT:?} of SIGTERM", self.id))??)
    }

    /// Waits until no process of an earlier [`Node::tree`] is left; the rest if that takes longer than `limit`.
    pub async fn wait_gone(tree: &[Process], limit: Duration) -> Vec<Process> {
        tree::wait_gone(tree, limit).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            tree::kill_all(self.pid);
        }
        if thread::panicking() {
            eprintln!("--- log of node {}\n{}---", self.id, self.log.text());
        }
    }
}

async fn run(folder: &Path, environment: &[(String, String)], place: &Place, log: &Log) -> Result<(Child, Value)> {
    let mut command = Command::from(place.command(&program()?));
    command.arg("up").arg("--config").arg(folder.join("spanwire.toml")).arg("--json").current_dir(folder);
    // A developer's own settings must not reach the node.
    for (key, _) in env::vars_os().filter(|(key, _)| is_a_setting(&key.to_string_lossy())) {
        command.env_remove(key);
    }
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start spanwire")?;
    log.follow(child.stderr.take().context("stderr is no pipe")?);
    let mut lines = Lines::new(child.stdout.take().context("stdout is no pipe")?, log.clone());
    let first = timeout(START_TIMEOUT, lines.next()).await.context("the node printed nothing in time")??;
    let Some(first) = first else {
        bail!("the node ended with {}", child.wait().await?);
    };
    let listening: Value = serde_json::from_str(&first).with_context(|| format!("not JSON: {first}"))?;
    ensure!(listening["event"] == "listening", "the first line is {first}");
    lines.follow();
    Ok((child, listening))
}

fn is_a_setting(variable: &str) -> bool {
    let cached = variable == "SPANWIRE_PEERS_DIR";
    (variable.starts_with("SPANWIRE_") && !cached) || variable.starts_with("OTEL_")
}

fn addresses(listening: &Value) -> Result<(SocketAddr, SocketAddr)> {
    let address = |name: &str, end: &str| {
        let url = listening["urls"][name].as_str().with_context(|| format!("no {name} in {listening}"))?;
        let url = url.trim_start_matches("http://").trim_end_matches(end);
        url.parse().with_context(|| format!("no address in {url}"))
    };
    Ok((address("mcp", "/mcp")?, address("grpc", "/")?))
}

/// An HTTP client that no proxy of the environment stands in front of.
pub fn http_client() -> reqwest::Client {
    // A second call is an error, and means that it is done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap_or_default()
}

/// The sum of the samples of a metric in an exposition, of those lines that hold all of `labels`.
pub fn sum_of(exposition: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = exposition.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    });
    // An exemplar stands behind ` # `.
    let values = samples.filter_map(|line| line.split(" # ").next()?.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}
