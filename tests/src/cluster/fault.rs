//! The faults: which there are, and in which order a seed brings them.

use std::{fmt, time::Duration};

use super::{bus::SERVERS, random::Random, world::NODES};
use crate::nats::Passage;

/// Shortest time that a fault lasts; the seed makes it up to twice as long: some nodes count as suspect meanwhile, and some do not.
const HOLD: Duration = Duration::from_secs(3);
/// How late a slow line is.
const LATE: Duration = Duration::from_millis(120);
/// Shortest time that a call takes that puts something on a slow disk, and by how much longer the seed may make it.
const DISK: Duration = Duration::from_millis(50);
const DISK_MORE_MS: u64 = 250;

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a node.
    KillNode,
    /// A node is stopped by a signal and goes on later.
    PauseNode,
    /// `kill -9` of a NATS server.
    KillServer,
    /// A NATS server is stopped by a signal and goes on later.
    PauseServer,
    /// `kill -9` of the NATS server that leads a shard of the context.
    KillLeader,
    /// Every node, one after the other, is asked to end and started again.
    RestartNodes,
    /// Every NATS server, one after the other, likewise.
    RestartServers,
    /// A node reaches no NATS server.
    CutOffNode,
    /// A NATS server and a node that reaches only this one are apart from the rest.
    SplitMinority,
    /// Whatever a node says to the NATS servers, and hears of them, is late.
    SlowLines,
    /// The disk of the NATS server that leads a shard is slow.
    SlowDiskServer,
    /// The disk of a node is slow.
    SlowDiskNode,
    /// The NATS server that leads a shard runs in short bursts, as it would on a disk that makes it wait. It stands for a slow disk where
    /// that cannot be had.
    Stutter,
    /// The folder of a node is put back to what it was before.
    RollBackNode,
    /// The store of a NATS server likewise, while the other two have everything.
    RollBackServer,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::KillNode,
        Self::PauseNode,
        Self::KillServer,
        Self::PauseServer,
        Self::KillLeader,
        Self::RestartNodes,
        Self::RestartServers,
        Self::CutOffNode,
        Self::SplitMinority,
        Self::SlowLines,
        Self::SlowDiskServer,
        Self::SlowDiskNode,
        Self::Stutter,
        Self::RollBackNode,
        Self::RollBackServer,
    ];

    /// The kind in a few words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillNode => "kill -9 of a node",
            Self::PauseNode => "pause of a node",
            Self::KillServer => "kill -9 of a NATS server",
            Self::PauseServer => "pause of a NATS server",
            Self::KillLeader => "kill -9 of the stream leader",
            Self::RestartNodes => "rolling restart, nodes",
            Self::RestartServers => "rolling restart, NATS",
            Self::CutOffNode => "node cut off",
            Self::SplitMinority => "minority split off",
            Self::SlowLines => "slow lines of a node",
            Self::SlowDiskServer => "slow disk, stream leader",
            Self::SlowDiskNode => "slow disk of a node",
            Self::Stutter => "stuttering stream leader",
            Self::RollBackNode => "folder of a node rolled back",
            Self::RollBackServer => "store of a server rolled back",
        }
    }

    /// All that a run has: a stuttering server only where no disk can be slow.
    pub fn usual(slow_disks: bool) -> Vec<Self> {
        let wanted = |kind: &Self| match kind {
            Self::SlowDiskServer | Self::SlowDiskNode => slow_disks,
            Self::Stutter => !slow_disks,
            Self::KillNode
            | Self::PauseNode
            | Self::KillServer
            | Self::PauseServer
            | Self::KillLeader
            | Self::RestartNodes
            | Self::RestartServers
            | Self::CutOffNode
            | Self::SplitMinority
            | Self::SlowLines
            | Self::RollBackNode
            | Self::RollBackServer => true,
        };
        Self::ALL.into_iter().filter(wanted).collect()
    }

    /// The kind whose words are like `text`: `KillNode` is found by `kill-node`.
    pub fn named(text: &str) -> Option<Self> {
        let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
        Self::ALL.into_iter().find(|kind| plain(&format!("{kind:?}")) == plain(text))
    }
}

/// One fault of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Which node, where it is done to one.
    pub node: usize,
    /// Which NATS server, where it is done to one.
    pub server: usize,
    /// How long.
    pub hold: Duration,
    /// What passes where a line is broken.
    pub passage: Passage,
    /// How long a call takes where a disk is slow.
    pub disk: Duration,
}

impl Fault {
    fn new(kind: Kind, random: &mut Random) -> Self {
        let one_way = random.below(2) == 0;
        let passage = match (kind, random.below(3)) {
            (Kind::SlowLines, _) => Passage::Late(LATE),
            (_, 0) => Passage::Cut,
            (Kind::CutOffNode | Kind::SplitMinority, 1) => {
                Passage::Silent { to_target: one_way, from_target: !one_way }
            }
            (_, _) => Passage::SILENT,
        };
        let (node, server) = (random.index(NODES), random.index(SERVERS));
        let disk = DISK + Duration::from_millis(random.below(DISK_MORE_MS));
        Self { kind, node, server, hold: random.about(HOLD), passage, disk }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, node, server, hold, passage, disk } = self;
        let seconds = hold.as_secs_f64();
        write!(f, "{}: ", kind.as_str())?;
        match kind {
            Kind::KillNode | Kind::PauseNode | Kind::RollBackNode => write!(f, "node {node}, {seconds:.1} s"),
            Kind::KillServer | Kind::PauseServer | Kind::RollBackServer => write!(f, "server {server}, {seconds:.1} s"),
            Kind::KillLeader | Kind::Stutter => write!(f, "{seconds:.1} s"),
            Kind::SlowDiskServer => write!(f, "{disk:?} per call, {seconds:.1} s"),
            Kind::SlowDiskNode => write!(f, "node {node}, {disk:?} per call, {seconds:.1} s"),
            Kind::RestartNodes | Kind::RestartServers => f.write_str("one by one"),
            Kind::CutOffNode | Kind::SlowLines => write!(f, "node {node}, {passage:?}, {seconds:.1} s"),
            Kind::SplitMinority => write!(f, "server {server} and node {node}, {passage:?}, {seconds:.1} s"),
        }
    }
}

/// Faults without end: all kinds that are wanted in an order of the seed's, then all again in another.
pub struct Schedule {
    random: Random,
    kinds: Vec<Kind>,
    left: Vec<Kind>,
}

impl Schedule {
    /// The schedule of a seed; `kinds` is not empty.
    pub fn new(mut random: Random, kinds: &[Kind]) -> Self {
        let random = random.fork();
        Self { random, kinds: kinds.to_vec(), left: Vec::new() }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            self.random.shuffle(&mut self.left);
        }
        Some(Fault::new(self.left.pop()?, &mut self.random))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_kind_comes_once_before_any_comes_again() {
        let faults: Vec<Fault> = Schedule::new(Random::new(3), &Kind::ALL).take(2 * Kind::ALL.len()).collect();
        for round in faults.chunks(Kind::ALL.len()) {
            let mut kinds: Vec<Kind> = round.iter().map(|fault| fault.kind).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, Kind::ALL);
        }
        let again: Vec<Fault> = Schedule::new(Random::new(3), &Kind::ALL).take(faults.len()).collect();
        assert_eq!(faults, again);
        let other: Vec<Fault> = Schedule::new(Random::new(4), &Kind::ALL).take(faults.len()).collect();
        assert_ne!(faults, other);
    }

    #[test]
    fn a_server_stutters_only_where_no_disk_can_be_slow() {
        assert_eq!(Kind::usual(true).len(), Kind::ALL.len() - 1);
        assert!(!Kind::usual(true).contains(&Kind::Stutter));
        assert!(Kind::usual(false).contains(&Kind::Stutter) && !Kind::usual(false).contains(&Kind::SlowDiskNode));
    }

    #[test]
    fn kinds_are_found_by_name() {
        assert_eq!(Kind::named("kill-node"), Some(Kind::KillNode));
        assert_eq!(Kind::named("RollBackServer"), Some(Kind::RollBackServer));
        assert_eq!(Kind::named("nothing"), None);
    }
}
