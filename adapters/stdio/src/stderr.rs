//! What a child writes to stderr goes into the node's log, with a bound on line length and rate.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncRead, time::Instant};

use crate::framing::{Line, Lines};

/// Longest part of a line that is logged, in bytes.
const MAX_LINE: usize = 8 * 1024;
/// Lines that are logged in one [`WINDOW`]; further ones are counted.
const MAX_LINES: u32 = 200;
/// The window of the rate.
const WINDOW: Duration = Duration::from_secs(1);

/// The last line that a child wrote: why it did not start is often in there.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastLine(Arc<Mutex<String>>);

impl LastLine {
    fn set(&self, line: &str) {
        line.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Logs until the end of the stream.
pub(crate) async fn log(from: impl AsyncRead + Unpin, server: Arc<str>, last: LastLine) {
    let mut lines = Lines::new(from, MAX_LINE);
    let (mut window, mut seen) = (Instant::now(), 0_u32);
    while let Ok(Some(line)) = lines.next().await {
        let (bytes, cut) = match &line {
            Line::Whole(bytes) => (bytes, ""),
            Line::TooLong { head, .. } => (head, " [cut]"),
        };
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        last.set(text);
        if window.elapsed() >= WINDOW {
            if seen > MAX_LINES {
                tracing::warn!(target: "spanwire::server", server = &*server, "{} lines left out", seen - MAX_LINES);
            }
            (window, seen) = (Instant::now(), 0);
        }
        seen += 1;
        if seen <= MAX_LINES {
            tracing::info!(target: "spanwire::server", server = &*server, "{text}{cut}");
        }
    }
}
