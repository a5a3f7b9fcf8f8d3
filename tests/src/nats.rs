//! A real nats-server per test, and a proxy in front of it that can be cut.

#[path = "nats/proxy.rs"] // also found from where this file is included by its path
mod proxy;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

pub use self::proxy::{Passage, Proxy};

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How often its ports file or its port is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A nats-server on a port of its own. It is killed when this is dropped.
pub struct NatsServer {
    process: Child,
    port: u16,
    /// Where the server tells about itself over HTTP, until it is restarted.
    monitor: SocketAddr,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl NatsServer {
    /// Starts a server with the defaults of nats-server.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a server with further arguments, such as `--user`.
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, arguments.iter().map(ToString::to_string).collect()).await
    }

    /// Starts a server with JetStream, whose store survives a restart.
    pub async fn start_jetstream() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("store").display().to_string();
        Self::start_in(folder, vec!["-js".into(), "-sd".into(), store]).await
    }

    /// Starts a server with a configuration, in which `FOLDER` stands for a folder of the server's own. What the harness needs (address,
    /// ports, log) is not to be in it.
    pub async fn start_configured(configuration: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("nats.conf");
        fs::write(&file, configuration.replace("FOLDER", &folder.path().display().to_string()))?;
        let file = file.display().to_string();
        Self::start_in(folder, vec!["-c".into(), file]).await
    }

    async fn start_in(folder: tempfile::TempDir, arguments: Vec<String>) -> Result<Self> {
        let process = spawn("-1", folder.path(), &arguments)?;
        let monitor = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { process, port: 0, monitor, arguments, folder };
        (server.port, server.monitor) = server.read_ports().await?;
        server.wait_until_it_listens().await?;
        Ok(server)
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where leaf nodes connect, of a server whose configuration has `leafnodes { listen: "127.0.0.1:-1" }`.
    pub async fn leafnodes(&self) -> Result<SocketAddr> {
        const TEXT: &str = "Listening for leafnode connections on ";
        timeout(START_TIMEOUT, self.logged(TEXT)).await.context("it does not listen for leaf nodes")?;
        let log = self.log();
        let (_, rest) = log.split_once(TEXT).context("no address")?;
        Ok(rest.lines().next().unwrap_or_default().trim().parse()?)
    }

    /// Kills the server at once, as a crash would.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Kills the server and starts it again on the same port.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.process = spawn(&self.port.to_string(), self.folder.path(), &self.arguments)?;
        self.wait_until_it_listens().await
    }

    /// How many subscriptions there are, the server's own ones included. Not after a restart.
    pub async fn subscriptions(&self) -> Result<u64> {
        self.facts("/subsz").await?["num_subscriptions"].as_u64().context("no number of subscriptions")
    }

    /// What the server tells of each connection of a client. Not after a restart.
    pub async fn connections(&self) -> Result<serde_json::Value> {
        Ok(self.facts("/connz").await?["connections"].take())
    }

    /// Waits until there is a line with this text in the log.
    pub async fn logged(&self, text: &str) {
        while !self.log().contains(text) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn facts(&self, path: &str) -> Result<serde_json::Value> {
        let mut stream = TcpStream::connect(self.monitor).await?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
        Ok(serde_json::from_str(body)?)
    }

    async fn read_ports(&mut self) -> Result<(u16, SocketAddr)> {
        let path = self.folder.path().join(format!("nats-server_{}.ports", self.process.id()));
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // The file is there before it is complete.
            if let Some(ports) = fs::read_to_string(&path).ok().and_then(|text| ports_in(&text)) {
                return Ok(ports);
            }
            self.check_alive(deadline)?;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(self.address()).await.is_err() {
            self.check_alive(deadline)?;
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn check_alive(&mut self, deadline: Instant) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("nats-server ended with {status}: {}", self.log());
        }
        if Instant::now() > deadline {
            bail!("nats-server did not listen within {START_TIMEOUT:?}");
        }
        Ok(())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: &str, folder: &Path, arguments: &[String]) -> Result<Child> {
    let program = program()?;
    Command::new(&program)
        .args(["-a", "127.0.0.1", "-p", port, "-m", "-1", "--ports_file_dir"])
        .arg(folder)
        .arg("-l")
        .arg(folder.join("log"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// The ports for clients and for monitoring.
fn ports_in(text: &str) -> Option<(u16, SocketAddr)> {
    let ports: serde_json::Value = serde_json::from_str(text).ok()?;
    let port = |kind: &str| ports[kind][0].as_str()?.rsplit(':').next()?.parse().ok();
    Some((port("nats")?, SocketAddr::from(([127, 0, 0, 1], port("monitoring")?))))
}

/// The binary that `tests/peers/install.sh` installs, or one on the path.
pub(crate) fn program() -> Result<PathBuf> {
    let in_peers = |peers: PathBuf| peers.join("venv/bin/nats-server");
    let mut candidates: Vec<PathBuf> =
        env::var_os("SPANWIRE_PEERS_DIR").map(|dir| in_peers(dir.into())).into_iter().collect();
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    candidates.extend(cache.map(|cache| in_peers(cache.join("spanwire/peers"))));
    let path = env::var_os("PATH").unwrap_or_default();
    candidates.extend(env::split_paths(&path).map(|dir| dir.join("nats-server")));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .context("no nats-server: run tests/peers/install.sh, or put one on the path")
}
