//! What a node writes, kept for whoever asks why a test failed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Most that is kept of one node, in bytes: the beginning is the interesting part.
const MAX_BYTES: usize = 1 << 20;

/// The lines of stdout and stderr in the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<String>>);

impl Log {
    pub(super) fn text(&self) -> String {
        self.lock().clone()
    }

    /// Keeps what comes until the stream ends.
    pub(super) fn follow(&self, stream: impl AsyncRead + Send + Unpin + 'static) {
        Lines::new(stream, self.clone()).follow();
    }

    fn push(&self, line: &str) {
        let mut text = self.lock();
        if text.len() < MAX_BYTES {
            text.push_str(line);
            text.push('\n');
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines that are kept in a log as they are read.
pub(super) struct Lines<R> {
    lines: tokio::io::Lines<BufReader<R>>,
    log: Log,
}

impl<R: AsyncRead + Send + Unpin + 'static> Lines<R> {
    pub(super) fn new(stream: R, log: Log) -> Self {
        Self { lines: BufReader::new(stream).lines(), log }
    }

    pub(super) async fn next(&mut self) -> std::io::Result<Option<String>> {
        let line = self.lines.next_line().await?;
        line.iter().for_each(|line| self.log.push(line));
        Ok(line)
    }

    /// Reads the rest, so that the writer never waits.
    pub(super) fn follow(mut self) {
        tokio::spawn(async move { while let Ok(Some(_)) = self.next().await {} });
    }
}
