//! Lines with a bound: a line that is too long is skipped, and reading goes on behind it.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are asked for at once.
const CHUNK: usize = 16 * 1024;
/// What is kept of the end of a line that is too long, to find the id in it.
const TAIL: usize = 128;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its newline.
    Whole(Bytes),
    /// Above the bound: its first bytes and its last ones.
    TooLong {
        /// The first bytes.
        head: Bytes,
        /// The last bytes.
        tail: Bytes,
    },
}

/// Reads lines.
pub(crate) struct Lines<R> {
    from: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    scanned: usize,
    max_bytes: usize,
    skipping: Option<(Bytes, BytesMut)>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R, max_bytes: usize) -> Self {
        Self { from, buffer: BytesMut::new(), scanned: 0, max_bytes, skipping: None }
    }

    /// The next line; `None` at the end. A last line without newline counts. Not cancel-safe only in the sense that a
    /// dropped future loses nothing: all state is in `self`.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            self.buffer.reserve(CHUNK);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(self.last_line());
            }
        }
    }

    fn take_line(&mut self) -> Option<Line> {
        match memchr(b'\n', self.buffer.get(self.scanned..).unwrap_or_default()) {
            Some(at) => {
                let line = self.buffer.split_to(self.scanned + at);
                self.buffer.advance(1);
                self.scanned = 0;
                Some(self.finish(line))
            }
            None => {
                self.scanned = self.buffer.len();
                if self.scanned > self.max_bytes || self.skipping.is_some() {
                    self.skip();
                }
                None
            }
        }
    }

    fn last_line(&mut self) -> Option<Line> {
        let line = self.buffer.split();
        self.scanned = 0;
        (!line.is_empty() || self.skipping.is_some()).then(|| self.finish(line))
    }

    fn finish(&mut self, line: BytesMut) -> Line {
        match self.skipping.take() {
            Some((head, mut tail)) => {
                keep_tail(&mut tail, &line);
                Line::TooLong { head, tail: tail.freeze() }
            }
            None if line.len() > self.max_bytes => {
                let mut tail = BytesMut::new();
                keep_tail(&mut tail, &line);
                Line::TooLong { head: Bytes::copy_from_slice(line.get(..TAIL).unwrap_or(&line)), tail: tail.freeze() }
            }
            None => Line::Whole(line.freeze()),
        }
    }

    /// Forgets what is buffered of a line that is too long.
    fn skip(&mut self) {
        let part = self.buffer.split();
        self.scanned = 0;
        let head = || Bytes::copy_from_slice(part.get(..TAIL).unwrap_or(&part));
        let (_, tail) = self.skipping.get_or_insert_with(|| (head(), BytesMut::new()));
        keep_tail(tail, &part);
    }
}

fn keep_tail(tail: &mut BytesMut, part: &[u8]) {
    tail.extend_from_slice(part.get(part.len().saturating_sub(TAIL)..).unwrap_or_default());
    let surplus = tail.len().saturating_sub(TAIL);
    tail.advance(surplus);
}

/// The integer id of a response of which only the two ends are known; a guess that errs on the side of `None`.
pub(crate) fn id_in(head: &[u8], tail: &[u8]) -> Option<i64> {
    let in_part = |part: &[u8]| {
        let at = memchr::memmem::rfind(part, b"\"id\":")? + 5;
        let rest = part.get(at..)?.trim_ascii_start();
        let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
        std::str::from_utf8(&digits).ok()?.parse().ok()
    };
    in_part(head).or_else(|| in_part(tail))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn lines_come_whole_or_as_their_two_ends() {
        let long = format!("{{\"id\":7,{}}}", "x".repeat(400));
        let input = format!("a\n\nbb\r\n{long}\nc\n{long}");
        let mut lines = Lines::new(input.as_bytes(), 300);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            seen.push(match line {
                Line::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Line::TooLong { head, tail } => format!("too long: {:?} {}", id_in(&head, &tail), tail.len()),
            });
        }
        assert_eq!(seen, ["a", "", "bb\r", "too long: Some(7) 128", "c", "too long: Some(7) 128"]);
    }

    #[test]
    fn the_id_is_found_at_either_end() {
        for (head, tail, id) in [
            (r#"{"jsonrpc":"2.0","id":12,"result":"#, "", Some(12)),
            (r#"{"result":{"#, r#"},"jsonrpc":"2.0","id": 3}"#, Some(3)),
            (r#"{"jsonrpc":"2.0","id":"s","result":"#, "}", None),
        ] {
            assert_eq!(id_in(head.as_bytes(), tail.as_bytes()), id, "{head}");
        }
    }
}
