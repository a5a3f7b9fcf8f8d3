//! Three real nats-servers with JetStream, each in a folder of its own, their routes over lines that can be broken.

mod member;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

pub use self::member::Member;
use super::{ground::Ground, net::Line};
use crate::nats::Passage;

/// Servers of the cluster: it lives on with one of them gone.
pub const SERVERS: usize = 3;
/// Longest that the cluster may take to be whole: elections alone take from 4 to 9 s.
const WHOLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How often something is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
    line: Line,
}

impl Bus {
    /// Starts the servers and waits until streams with three replicas are possible.
    pub async fn start(ground: &Ground) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut members = Vec::new();
        for index in 0..SERVERS {
            members.push(Member::new(index, folder.path(), ground)?);
        }
        let mut routes = Vec::new();
        for from in 0..SERVERS {
            for to in (0..SERVERS).filter(|to| *to != from) {
                let line = ground.net.line(members[from].ip(), members[to].routes()).await?;
                routes.push(Route { from, to, line });
            }
        }
        for (index, member) in members.iter_mut().enumerate() {
            let lines = routes.iter().filter(|route| route.from == index).map(|route| route.line.address());
            member.configure(lines, ground.sync)?;
            member.restart()?;
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
        self.members.iter().map(Member::clients).collect()
    }

    /// A folder beside those of the servers, for copies of theirs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes what passes between a server and the others; the target is the others.
    pub fn set_routes_of(&self, index: usize, passage: Passage) -> Result<()> {
        for route in &self.routes {
            if route.from == index {
                route.line.set(passage)?;
            } else if route.to == index {
                route.line.set(passage.reversed())?;
            }
        }
        Ok(())
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
        for (index, member) in self.members.iter().enumerate() {
            let name = name_of(index);
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

    /// Copies the logs of all servers into a folder.
    pub fn copy_logs(&self, folder: &Path) -> Result<()> {
        self.members.iter().try_for_each(|member| member.copy_log(folder))
    }

    fn log_tails(&self) -> String {
        self.members.iter().map(Member::log_tail).collect()
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

#[cfg(test)]
mod tests;
