//! Processes of the benchmark, which end with their owner.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// Lines of a log that an error shows.
const LOG_LINES: usize = 6;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program. What it writes goes to `folder/NAME.log`.
    pub(super) fn start(name: &str, program: &Path, args: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let log = Log::create(name, folder)?;
        let stdout = log.file.try_clone()?;
        log.spawn(name, Command::new(program).args(args).stdout(stdout))
    }

    /// Starts a program that says one thing on stdout, and returns that line.
    pub(super) fn start_for_line(name: &str, program: &Path, folder: &Path) -> anyhow::Result<(Self, String)> {
        let log = Log::create(name, folder)?;
        let mut process = log.spawn(name, Command::new(program).stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().context("stdout is no pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.is_empty() {
            bail!("{name} wrote nothing{}", process.log_tail());
        }
        Ok((process, line.trim().to_owned()))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error when the program has ended.
    pub(super) fn ensure_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}){}", self.name, self.log_tail()),
        }
    }

    /// The end of its log, to be put behind an error.
    pub(super) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        if last.is_empty() { String::new() } else { format!("; its log ends with:\n{}", last.join("\n")) }
    }
}

struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn create(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(format!("{name}.log"));
        Ok(Self { file: File::create(&path)?, path })
    }

    /// stdin is a pipe that closes with the benchmark, so that a program that reads it can end by itself.
    fn spawn(self, name: &str, command: &mut Command) -> anyhow::Result<Process> {
        let child = command
            .stdin(Stdio::piped())
            .stderr(self.file)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Process { name: name.to_owned(), child, log: self.path })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on loopback that nobody listens on.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
