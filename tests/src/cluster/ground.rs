//! What a cluster stands on: network, disks, and how the NATS servers use them.

use std::{fmt, path::Path};

use anyhow::Result;

use super::{bus::StoreSync, disk::Disk, net::Net};
use crate::node::Place;

/// What a cluster stands on.
#[derive(Clone)]
pub struct Ground {
    /// How its parts reach each other.
    pub net: Net,
    /// Whether disks can be made slow.
    pub slow_disks: bool,
    /// How the NATS servers keep what they are given.
    pub sync: StoreSync,
}

impl Ground {
    /// What is on every machine: proxies, and disks as they are.
    pub fn plain(sync: StoreSync) -> Self {
        Self { net: Net::Proxies, slow_disks: false, sync }
    }

    /// The most that this process may have.
    pub fn here(sync: StoreSync) -> Result<Self> {
        Ok(Self { net: Net::new()?, slow_disks: Disk::is_possible(), sync })
    }

    /// Where one part of a cluster is to run, and its disk where that can be slow. `folder` is for what this needs itself.
    pub fn place(&self, folder: &Path, name: &str) -> Result<(Place, Option<Disk>)> {
        let mut place = self.net.place()?;
        if !self.slow_disks {
            return Ok((place, None));
        }
        let disk = Disk::new(folder, name)?;
        place.before.extend(disk.launcher());
        Ok((place, Some(disk)))
    }
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disks = match self.slow_disks {
            true => "disk calls held back (seccomp)",
            false => "no slow disks: the kernel does not allow them here",
        };
        write!(f, "lines: {}; {disks}", self.net)
    }
}
