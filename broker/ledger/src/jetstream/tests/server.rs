//! Real nats-servers with JetStream, one or three, and a proxy that can be cut. They own their ports and folders.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep},
};

use super::harness::PATIENCE;

/// How often a server that starts is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One server. It is killed when this is dropped.
pub(super) struct Server {
    process: Option<Child>,
    arguments: Vec<String>,
    pub(super) address: SocketAddr,
    pub(super) folder: tempfile::TempDir,
}

impl Server {
    /// A server with JetStream.
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("js").to_str().unwrap().to_owned();
        Self::start_with(folder, free_address(), &["-js", "-sd", &store]).await
    }

    /// A server without it.
    pub(super) async fn start_without_jetstream() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), free_address(), &[]).await
    }

    /// A server with a configuration, in which `FOLDER` is its folder.
    pub(super) async fn start_configured(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        std::fs::write(&file, configuration.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
        let file = file.to_str().unwrap().to_owned();
        Self::start_with(folder, free_address(), &["-c", &file]).await
    }

    /// Three servers that are one cluster.
    pub(super) async fn start_three() -> [Self; 3] {
        let routes = [free_address(), free_address(), free_address()];
        let all = routes.map(|route| format!("nats://{route}")).join(",");
        let start = async |index: usize| {
            let folder = tempfile::tempdir().unwrap();
            let store = folder.path().join("js").to_str().unwrap().to_owned();
            let (name, route) = (format!("n{index}"), format!("nats://{}", routes[index]));
            let cluster = ["--cluster_name", "test", "--cluster", &route, "--routes", &all];
            let arguments = [["-js", "-sd", &store, "--server_name", &name].as_slice(), &cluster].concat();
            Self::start_with(folder, free_address(), &arguments).await
        };
        [start(0).await, start(1).await, start(2).await]
    }

    async fn start_with(folder: tempfile::TempDir, address: SocketAddr, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { process: None, arguments, address, folder };
        server.run().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where JetStream keeps its files.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("js")
    }

    /// Kills it at once, as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port.
    pub(super) async fn run(&mut self) {
        let port = self.address.port().to_string();
        let mut command = Command::new(program());
        command.args(["-a", "127.0.0.1", "-p", &port, "-l"]).arg(self.folder.path().join("log"));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            assert!(Instant::now() < deadline, "nats-server does not listen on {}", self.address);
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that was free a moment ago.
pub(super) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The binary that `tests/peers/install.sh` installs, or one on the path.
fn program() -> PathBuf {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home).map(|cache| cache.join("spanwire/peers"));
    let peers = env::var_os("SPANWIRE_PEERS_DIR").map(PathBuf::from).into_iter().chain(cache);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = peers
        .map(|peers| peers.join("venv/bin/nats-server"))
        .chain(env::split_paths(&path).map(|folder| folder.join("nats-server")));
    candidates
        .find(|candidate| candidate.is_file())
        .expect("no nats-server: run tests/peers/install.sh, or put one on the path")
}

/// What a node sees as the server until it is cut.
pub(super) struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub(super) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut state = state.clone();
                if !*state.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = state.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }

    pub(super) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Ends every connection, and each new one, until it is mended.
    pub(super) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub(super) fn mend(&self) {
        self.open.send_replace(true);
    }
}
