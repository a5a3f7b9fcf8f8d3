//! What a peer said and heard, in a file of JSON lines, so that it is read alike from a child process and from this one.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How often the file is looked at while something is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Longer than any line, in bytes.
const LONGEST_LINE: u64 = 256 * 1024;
/// Longest that anything may take to be written down.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(6);

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The server heard it.
    In,
    /// The server said it.
    Out,
    /// Something that is no message happened: `{"dropped":ID}`, `{"opened":…}`, `{"ended":…}`.
    Event,
}

/// One line of a tape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// Which way.
    pub way: Way,
    /// The connection or session, counted from 1; 0 for requests without one.
    pub connection: u64,
    /// HTTP headers that matter to the protocol, by lower-case name; empty on stdio.
    pub head: Value,
    /// The message.
    pub message: Value,
}

/// Writes a tape.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: Mutex<File>,
    connections: AtomicU64,
}

impl Recorder {
    /// Appends to a file.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file), connections: AtomicU64::new(1) })
    }

    /// A number for a new connection.
    pub(crate) fn connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn note(&self, way: Way, connection: u64, head: &Value, message: &Value) {
        let noted = Noted { way, connection, head: head.clone(), message: message.clone() };
        let Ok(mut line) = serde_json::to_string(&noted) else { return };
        line.push('\n');
        // One write, so that no reader sees half a line of another thread.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// Reads a tape from where it stood when the reading began.
#[derive(Debug, Clone)]
pub struct Tape {
    path: PathBuf,
    offset: u64,
    lines: Vec<Noted>,
}

/// Where the last whole line ends.
fn last_line_end(path: &Path) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| from + at as u64 + 1))
}

impl Tape {
    /// Reads what is written from now on. A line of which only a part is there yet is read whole.
    pub fn from_now(path: &Path) -> Self {
        let offset = last_line_end(path).unwrap_or_default();
        Self { path: path.to_owned(), offset, lines: Vec::new() }
    }

    /// Reads all of it.
    pub fn whole(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, lines: Vec::new() }
    }

    /// What there is until now.
    pub fn lines(&mut self) -> Result<&[Noted]> {
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(&self.path) {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut text)?;
        }
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.lines.push(serde_json::from_slice(line)?);
        }
        self.offset += whole as u64;
        Ok(&self.lines)
    }

    /// Waits until something can be found, and returns it.
    pub async fn wait<T>(&mut self, what: &str, find: impl Fn(&[Noted]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + ARRIVAL_TIMEOUT;
        loop {
            if let Some(found) = find(self.lines()?) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("the server never saw {what}");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
