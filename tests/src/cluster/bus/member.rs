//! One server of the cluster, and its process.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{StoreSync, name_of};
use crate::{
    cluster::{disk::Disk, folder, ground::Ground},
    nats::program,
    node::{Place, Signal, http_client, signal},
};

/// Longest that a server may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest that a server may take to say something about itself.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);
/// How often something is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Ports are taken from here: below those that the kernel gives to connections, so that a port stays free while its server is down.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// One server.
pub struct Member {
    index: usize,
    client: u16,
    route: u16,
    monitor: u16,
    folder: PathBuf,
    config: PathBuf,
    place: Place,
    disk: Option<Disk>,
    process: Option<Child>,
}

impl Member {
    pub(super) fn new(index: usize, folder: &Path, ground: &Ground) -> Result<Self> {
        let (place, disk) = ground.place(folder, &name_of(index))?;
        let folder = folder.join(name_of(index));
        fs::create_dir_all(folder.join("store"))?;
        let (client, route, monitor) = (port()?, port()?, port()?);
        let config = folder.join("nats.conf");
        Ok(Self { index, client, route, monitor, folder, config, place, disk, process: None })
    }

    /// Where it listens.
    pub(super) fn ip(&self) -> IpAddr {
        self.place.ip
    }

    /// Where it takes clients.
    pub(super) fn clients(&self) -> SocketAddr {
        (self.place.ip, self.client).into()
    }

    /// Where it takes the other servers.
    pub(super) fn routes(&self) -> SocketAddr {
        (self.place.ip, self.route).into()
    }

    /// Writes its configuration; `lines` lead to the others.
    pub(super) fn configure(&self, lines: impl Iterator<Item = SocketAddr>, sync: StoreSync) -> Result<()> {
        Ok(fs::write(&self.config, configuration(self, lines, sync))?)
    }

    /// How long each call takes by which it puts something on its disk. Without effect where that is not possible.
    pub fn set_disk(&self, delay: Duration) -> Result<()> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.set(delay))
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

    /// Starts it, or starts it again, on its ports and its store. It may take a while to be of use: see [`Bus::wait_whole`].
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
        let process = self
            .place
            .command(&program)
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

    pub(super) async fn ask(&self, path: &str) -> Result<Value> {
        let url = format!("http://{}:{}/{path}", self.place.ip, self.monitor);
        let answer = async {
            let response = http_client().get(url).send().await?;
            anyhow::Ok(serde_json::from_slice(&response.bytes().await?)?)
        };
        timeout(MONITOR_TIMEOUT, answer).await.context("no answer in time")?
    }

    pub(super) fn copy_log(&self, folder: &Path) -> Result<()> {
        fs::copy(self.folder.join("log"), folder.join(format!("{}.log", name_of(self.index))))?;
        Ok(())
    }

    pub(super) fn log_tail(&self) -> String {
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

/// Servers tell nobody where they are, so that all goes over the lines: the address for the others is one that nobody listens on.
fn configuration(member: &Member, routes: impl Iterator<Item = SocketAddr>, sync: StoreSync) -> String {
    let routes: String = routes.map(|address| format!("    nats-route://{address}\n")).collect();
    let sync = match sync {
        StoreSync::Cached => "",
        StoreSync::Always => "  sync_interval: always\n",
    };
    let Member { index, client, route, monitor, folder, place: Place { ip, .. }, .. } = member;
    let store = spanwire_mcp::string_literal(&folder.join("store").to_string_lossy());
    format!(
        "server_name: {}\nlisten: \"{ip}:{client}\"\nhttp: \"{ip}:{monitor}\"\n\
         jetstream {{\n  store_dir: {store}\n{sync}}}\n\
         cluster {{\n  name: faults\n  listen: \"{ip}:{route}\"\n  advertise: \"127.0.0.1:1\"\n  no_advertise: true\n  routes: [\n{routes}  ]\n}}\n",
        name_of(*index)
    )
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let (one, other) = (port().unwrap(), port().unwrap());
        assert_ne!(one, other);
        assert!(PORTS.contains(&one) && PORTS.contains(&other));
    }
}
