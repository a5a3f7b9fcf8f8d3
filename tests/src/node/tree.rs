//! The processes below a process.

use std::{fs, time::Duration};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::time::{Instant, sleep};

/// How often the process table is looked at while something ends.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process, told apart from a later one with the same id by when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    started: u64,
}

impl Process {
    /// Whether it is still there and no zombie.
    pub fn is_running(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// SIGKILL, if it is still there.
    pub fn kill(&self) {
        if self.is_running() {
            signal(self.pid, Signal::KILL);
        }
    }
}

/// SIGKILL for a process and everything below it. They are stopped first: what one of them starts meanwhile would be missed.
pub(super) fn kill_all(pid: u32) {
    signal(pid, Signal::STOP);
    let mut tree = Vec::new();
    loop {
        let now = descendants(pid);
        now.iter().for_each(|process| signal(process.pid, Signal::STOP));
        if now == tree {
            break;
        }
        tree = now;
    }
    signal(pid, Signal::KILL);
    tree.iter().for_each(Process::kill);
}

/// All processes below one, parents before their children.
pub fn descendants(pid: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<(u32, Stat)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            parents.push(*pid);
            found.push(Process { pid: *pid, command: command(*pid), started: stat.started });
        }
    }
    found
}

/// Waits until none of them is running; those that are after `limit`.
pub(super) async fn wait_gone(processes: &[Process], limit: Duration) -> Vec<Process> {
    let deadline = Instant::now() + limit;
    loop {
        let left: Vec<Process> = processes.iter().filter(|process| process.is_running()).cloned().collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Sends a signal. A process that is gone does not mind.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

struct Stat {
    state: char,
    parent: u32,
    started: u64,
}

/// `/proc/PID/stat` (proc(5)): the name stands in parentheses and may hold anything, so fields are counted behind it.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

fn command(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
}
