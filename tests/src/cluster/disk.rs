//! A disk that is slow when it is told to be, under a program that knows nothing of it.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

/// The disk of one program: each call that puts something on it can be made to wait. Open files, connections and memory are not touched.
pub struct Disk(PathBuf);

impl Disk {
    /// Whether a disk can be made slow here: the kernel must ask a process about the calls of another (seccomp, from Linux 5.5 on).
    pub fn is_possible() -> bool {
        let check =
            Command::new(python()).arg(script()).arg("--check").stdin(Stdio::null()).stderr(Stdio::null()).status();
        check.is_ok_and(|status| status.success())
    }

    /// A disk as it is; `folder` is for what this needs itself.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        let disk = Self(folder.join(format!("disk-of-{name}")));
        disk.set(Duration::ZERO)?;
        Ok(disk)
    }

    /// What stands before a program on its command line, for it to have this disk.
    pub fn launcher(&self) -> [OsString; 3] {
        [python().into(), script().into(), self.0.clone().into()]
    }

    /// How long each call takes from now on; zero is as long as it takes.
    pub fn set(&self, delay: Duration) -> Result<()> {
        let text = delay.as_millis().to_string();
        fs::write(&self.0, text).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cluster/disk/slow.py")
}

/// The Python of the peers, or one on the path.
pub(super) fn python() -> PathBuf {
    let beside = crate::nats::program().map(|nats| nats.with_file_name("python"));
    beside.ok().filter(|python| python.is_file()).unwrap_or_else(|| "python3".into())
}

#[cfg(test)]
mod tests;
