//! Three real nats-servers with JetStream, each in a folder of its own, their routes through proxies that can be cut.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::folder;
use crate::{
    nats::{Passage, Proxy, program},
    node::{Signal, http_client, signal},
};

/// Servers of the cluster: it lives on with one of them gone.
pub const SERVERS: usize = 3;
/// Longest that the cluster may take to be whole: elections alone take from 4 to 9 s.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest that a server may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest that a server may take to say something about itself.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);
/// How often something is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Ports are taken from here: below those that the kernel gives to connections, so that a port stays free while its server is down.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// How the servers keep what they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreSync {
    /// In the page cache at once, on the disk after a while: the default of nats-server.
    #[default]
    Cached,
    /// On the disk before the acknowledgement (`sync_interval: always`).
    Always,
}

/// The servers. Dropping it kills them.
pub struct Bus {
    members: Vec<Member>,
    /// The line by which one server connects to another.
    routes: Vec<Route>,
    folder: tempfile::TempDir,
}

struct Route {
    from: usize,
    to: usize,
    line: Proxy,
}

impl Bus {
    /// Starts the servers and waits until streams with three replicas are possible.
    pub async fn start(sync: StoreSync) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut members = Vec::new();
        for index in 0..SERVERS {
            members.push(Member::new(index, folder.path())?);
        }
        let mut routes = Vec::new();
        for from in 0..SERVERS {
            for to in (0..SERVERS).filter(|to| *to != from) {
                routes.push(Route { from, to, line: Proxy::start(loopback(members[to].route)).await? });
            }
        }
        for member in &mut members {
            let lines = routes.iter().filter(|route| route.from == member.index).map(|route| route.line.address());
            fs::write(&member.config, configuration(member, lines, sync))?;
            member.spawn()?;
        }
        let bus = Self { members, routes, folder };
        bus.wait_whole().await?;
        Ok(bus)
    }

    /// One of the servers.
    pub fn member(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// Where each of the servers takes clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| loopback(member.client)).collect()
    }

    /// A folder beside those of the servers, for copies of theirs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes what passes between a server and the others, in both directions.
    pub fn set_routes_of(&self, index: usize, passage: Passage) {
        for route in self.routes.iter().filter(|route| route.from == index || route.to == index) {
            route.line.set(passage);
        }
    }

    /// Waits until every server is there, and all agree on who is in the cluster and are up to date.
    pub async fn wait_whole(&self) -> Result<()> {
        let deadline = Instant::now() + WHOLE_TIMEOUT;
        loop {
            let missing = self.missing().await;
            let Some(missing) = missing else { return Ok(()) };
            if Instant::now() > deadline {
                bail!("the NATS cluster is not whole after {WHOLE_TIMEOUT:?}: {missing}\n{}", self.log_tails());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The server that leads the first stream whose name holds `name`, as far as a server that answers knows.
    pub async fn leader_of(&self, name: &str) -> Option<usize> {
        for member in &self.members {
            let Ok(facts) = member.ask("jsz?streams=true").await else { continue };
            let leader = streams_of(&facts)
                .find(|stream| stream["name"].as_str().is_some_and(|found| found.contains(name)))
                .and_then(|stream| member_named(stream["cluster"]["leader"].as_str()?));
            if leader.is_some() {
                return leader;
            }
        }
        None
    }

    /// Names of all streams with how many replicas each has.
    pub async fn streams(&self) -> Vec<(String, usize)> {
        let mut found = std::collections::BTreeMap::new();
        for member in &self.members {
            let Ok(facts) = member.ask("jsz?streams=true").await else { continue };
            for stream in streams_of(&facts) {
                let others = stream["cluster"]["replicas"].as_array().map_or(0, Vec::len);
                let name = stream["name"].as_str().unwrap_or_default().to_owned();
                let replicas: &mut usize = found.entry(name).or_default();
                *replicas = (*replicas).max(others + 1);
            }
        }
        found.into_iter().collect()
    }

    /// How many subscriptions of clients and JetStream consumers there are, on all servers. What the servers subscribe to for themselves
    /// is not counted: it depends on who leads what.
    pub async fn held(&self) -> Result<(u64, u64)> {
        let (mut subscriptions, mut consumers) = (0, 0);
        for member in &self.members {
            let number = |facts: &Value, name: &str| facts[name].as_u64().with_context(|| format!("no {name}"));
            let connections = member.ask("connz").await?;
            let connections = connections["connections"].as_array().context("no connections")?;
            for connection in connections {
                subscriptions += number(connection, "subscriptions")?;
            }
            consumers += number(&member.ask("jsz").await?, "consumers")?;
        }
        Ok((subscriptions, consumers))
    }

    /// What is missing until the cluster is whole.
    async fn missing(&self) -> Option<String> {
        let mut led = false;
        for member in &self.members {
            let name = name_of(member.index);
            match member.ask("healthz").await {
                Ok(health) if health["status"] == "ok" => {}
                Ok(health) => return Some(format!("{name} says {health}")),
                Err(error) => return Some(format!("{name}: {error:#}")),
            }
            let facts = match member.ask("jsz?streams=true").await {
                Ok(facts) => facts,
                Err(error) => return Some(format!("{name}: {error:#}")),
            };
            let meta = &facts["meta_cluster"];
            let leader = meta["leader"].as_str().unwrap_or_default();
            if leader.is_empty() || meta["cluster_size"] != SERVERS {
                return Some(format!("{name} sees {meta}"));
            }
            if leader == name {
                led = true;
                if let Some(late) = late_replica(meta) {
                    return Some(format!("{late} is behind in the meta group"));
                }
            }
            for stream in streams_of(&facts).filter(|stream| stream["cluster"]["leader"] == name) {
                if let Some(late) = late_replica(&stream["cluster"]) {
                    return Some(format!("{late} is behind in {}", stream["name"]));
                }
            }
        }
        (!led).then(|| "nobody leads the meta group".to_owned())
    }

    fn log_tails(&self) -> String {
        self.members.iter().map(Member::log_tail).collect()
    }
}

/// One server.
pub struct Member {
    index: usize,
    client: u16,
    route: u16,
    monitor: u16,
    folder: PathBuf,
    config: PathBuf,
    process: Option<Child>,
}

impl Member {
    fn new(index: usize, folder: &Path) -> Result<Self> {
        let folder = folder.join(name_of(index));
        fs::create_dir_all(folder.join("store"))?;
        let (client, route, monitor) = (port()?, port()?, port()?);
        Ok(Self { index, client, route, monitor, config: folder.join("nats.conf"), folder, process: None })
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let ended = timeout(STOP_TIMEOUT, async {
            while process.try_wait()?.is_none() {
                sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        });
        let ended = ended.await;
        // It is ours to end in any case.
        let _ = process.kill();
        let _ = process.wait();
        ended.with_context(|| format!("{} did not end within {STOP_TIMEOUT:?} of SIGTERM", name_of(self.index)))?
    }

    /// Starts it again on its ports and its store. It may take a while to be of use: see [`Bus::wait_whole`].
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} is running", name_of(self.index));
        self.spawn()
    }

    /// Copies its store, which is not to be written meanwhile.
    pub fn copy_store(&self, to: &Path) -> Result<()> {
        ensure!(self.process.is_none(), "{} is running", name_of(self.index));
        folder::replace(to, &self.folder.join("store"))
    }

    /// Puts an older copy in the place of its store.
    pub fn roll_back(&self, from: &Path) -> Result<()> {
        ensure!(self.process.is_none(), "{} is running", name_of(self.index));
        folder::replace(&self.folder.join("store"), from)
    }

    fn spawn(&mut self) -> Result<()> {
        let program = program()?;
        let log = File::options().create(true).append(true).open(self.folder.join("log"))?;
        let process = Command::new(&program)
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.process = Some(process);
        Ok(())
    }

    fn signal(&self, wanted: Signal) {
        if let Some(process) = &self.process {
            signal(process.id(), wanted);
        }
    }

    async fn ask(&self, path: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/{path}", self.monitor);
        let answer = async {
            let response = http_client().get(url).send().await?;
            anyhow::Ok(serde_json::from_slice(&response.bytes().await?)?)
        };
        timeout(MONITOR_TIMEOUT, answer).await.context("no answer in time")?
    }

    fn log_tail(&self) -> String {
        const LINES: usize = 20;
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LINES)..].join("\n");
        format!("--- log of {}\n{tail}\n", name_of(self.index))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn name_of(index: usize) -> String {
    format!("nats-{index}")
}

fn member_named(name: &str) -> Option<usize> {
    (0..SERVERS).find(|index| name_of(*index) == name)
}

fn streams_of(facts: &Value) -> impl Iterator<Item = &Value> {
    let accounts = facts["account_details"].as_array().into_iter().flatten();
    accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten())
}

/// A replica that does not have everything yet, as its leader sees it.
fn late_replica(cluster: &Value) -> Option<&str> {
    let mut replicas = cluster["replicas"].as_array().into_iter().flatten();
    let late = replicas.find(|replica| replica["current"] != true || replica["offline"] == true)?;
    Some(late["name"].as_str().unwrap_or("a replica"))
}

/// Servers tell nobody where they are, so that all goes through the proxies: the address for the others is one that nobody listens on.
fn configuration(member: &Member, routes: impl Iterator<Item = SocketAddr>, sync: StoreSync) -> String {
    let routes: String = routes.map(|address| format!("    nats-route://{address}\n")).collect();
    let sync = match sync {
        StoreSync::Cached => "",
        StoreSync::Always => "  sync_interval: always\n",
    };
    let Member { index, client, route, monitor, folder, .. } = member;
    let store = spanwire_mcp::string_literal(&folder.join("store").to_string_lossy());
    format!(
        "server_name: {}\nlisten: 127.0.0.1:{client}\nhttp: 127.0.0.1:{monitor}\n\
         jetstream {{\n  store_dir: {store}\n{sync}}}\n\
         cluster {{\n  name: faults\n  listen: 127.0.0.1:{route}\n  advertise: \"127.0.0.1:1\"\n  no_advertise: true\n  routes: [\n{routes}  ]\n}}\n",
        name_of(*index)
    )
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that nobody listens on and that no connection is given. Processes begin at different places.
fn port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    let first = u16::try_from(process::id() % u32::from(count))?;
    for _ in 0..count {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + first.wrapping_mul(7).wrapping_add(offset) % count;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}

#[cfg(test)]
mod tests;
