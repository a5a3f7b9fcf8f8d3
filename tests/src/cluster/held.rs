//! What the processes of a cluster hold while nothing is asked of them.

use std::fmt;

use anyhow::{Context, Result};

use super::world::{NODES, World};

/// What may be more afterwards, and is no leak: files that a store has opened, connections that are kept for the next one.
const MORE_FILES: usize = 32;
const MORE_MIB: usize = 64;
/// Fewer than one node has.
const MORE_SUBSCRIPTIONS: u64 = 10;
/// Each node has one for each shard; those of a node that was killed are forgotten by the servers after a minute.
const MORE_CONSUMERS: u64 = 24;

/// What is held. Numbers of nodes are sums over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Open files of the nodes.
    pub files: usize,
    /// Processes below the nodes.
    pub processes: usize,
    /// Resident memory of the nodes, in MiB.
    pub resident_mib: usize,
    /// Subscriptions of clients at the NATS servers.
    pub subscriptions: u64,
    /// JetStream consumers at the NATS servers.
    pub consumers: u64,
}

impl Held {
    /// What is held now.
    pub async fn by(world: &World) -> Result<Self> {
        let (mut files, mut processes, mut resident_kib) = (0, 0, 0);
        for node in (0..NODES).map(|index| world.node(index)) {
            files += std::fs::read_dir(format!("/proc/{}/fd", node.pid()))?.count();
            processes += node.tree().len();
            let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            resident_kib += line.trim().trim_end_matches(" kB").parse::<usize>()?;
        }
        let (subscriptions, consumers) = world.bus.held().await?;
        Ok(Self { files, processes, resident_mib: resident_kib / 1024, subscriptions, consumers })
    }

    /// What has grown since `before` by more than it may.
    pub fn leak_since(&self, before: &Self) -> Option<String> {
        let grown = self.files > before.files + MORE_FILES
            || self.processes != before.processes
            || self.resident_mib > before.resident_mib * 2 + MORE_MIB
            || self.subscriptions > before.subscriptions + MORE_SUBSCRIPTIONS
            || self.consumers > before.consumers + MORE_CONSUMERS;
        grown.then(|| format!("held {before} before, and {self} afterwards"))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, processes, resident_mib, subscriptions, consumers } = self;
        write!(
            f,
            "{files} files, {processes} processes, {resident_mib} MiB, {subscriptions} subscriptions, {consumers} consumers"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_without_end_is_a_leak() {
        let before = Held { files: 90, processes: 2, resident_mib: 120, subscriptions: 200, consumers: 15 };
        assert_eq!(before.leak_since(&before), None);
        assert_eq!(Held { files: 100, resident_mib: 300, ..before }.leak_since(&before), None);
        let bad = [
            Held { files: 500, ..before },
            Held { processes: 4, ..before },
            Held { processes: 0, ..before },
            Held { resident_mib: 400, ..before },
            Held { subscriptions: 213, ..before },
            Held { consumers: 40, ..before },
        ];
        for held in bad {
            assert!(held.leak_since(&before).is_some(), "{held}");
        }
    }
}
