//! A shard's view in one stream of bytes: for the object store, for backups, and for putting it in the place of another view.
//!
//! `spanwire snapshot 1` sealed (`sealed.rs`), with a header that says of what. The same view makes the same bytes. It holds the outcomes
//! of recent operations too, and never the log.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use spanwire_model::{Book, Pair, Shard, StoreError};

use crate::{
    error::ApplyError,
    position::{Hash, Position},
    sealed::{Opening, Sealing},
    shard::Pinned,
};

/// What a snapshot begins with.
const FORM: &[u8] = b"spanwire snapshot 1\n";

/// Bytes of keys and values that are read or written at a time, about.
const PAGE_BYTES: usize = 1024 * 1024;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) book: Book,
    pub(crate) shard: u16,
    /// The last entry that the view holds.
    pub(crate) sequence: u64,
    /// The log's time at that entry.
    pub(crate) time_ms: u64,
    /// The running hash after it.
    pub(crate) hash: Hash,
    /// The digest of its message.
    pub(crate) digest: Hash,
    /// The newest version of a command that was applied: a machine that does not know it must not use the view.
    pub(crate) version: u16,
}

impl Header {
    pub(crate) fn of(shard: Shard, position: &Position) -> Self {
        Self {
            book: shard.book,
            shard: shard.number,
            sequence: position.sequence,
            time_ms: position.time_ms,
            hash: position.hash,
            digest: position.digest,
            version: position.version,
        }
    }

    pub(crate) fn of_shard(&self) -> Shard {
        Shard { book: self.book, number: self.shard }
    }

    /// Where a shard is that took the snapshot as its view.
    pub(crate) fn position(&self, generation: u32) -> Position {
        Position {
            sequence: self.sequence,
            time_ms: self.time_ms,
            hash: self.hash,
            digest: self.digest,
            version: self.version,
            stream: None,
            generation,
            first: self.sequence + 1,
            log_bytes: 0,
        }
    }
}

/// Writes a pinned view.
pub(crate) fn write(shard: Shard, pinned: &Pinned, writer: &mut impl Write) -> Result<Header, ApplyError> {
    let failed = |error: io::Error| damaged(shard, &error);
    let header = Header::of(shard, &pinned.position);
    let mut out = Sealing::begin(writer, FORM, &header).map_err(failed)?;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = pinned.page(after.as_deref(), PAGE_BYTES)?;
        for (key, value) in &page {
            out.pair(key, value).map_err(failed)?;
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    out.seal().map_err(failed)?;
    Ok(header)
}

/// Reads what a snapshot says of itself.
pub(crate) fn read_header(shard: Option<Shard>, reader: &mut impl Read) -> io::Result<Header> {
    let (_, header) = Opening::begin::<Header>(reader, FORM)?;
    match shard {
        Some(shard) if shard != header.of_shard() => Err(io::Error::other(format!("it is of {}", header.of_shard()))),
        Some(_) | None => Ok(header),
    }
}

/// Reads a snapshot, and not a byte more, and gives its keys and values to `page` in order. What was given is good only when this returns
/// well. `shard` is the one that it must be of.
pub(crate) fn read(
    shard: Shard,
    reader: &mut impl Read,
    mut page: impl FnMut(Vec<Pair>) -> Result<(), StoreError>,
) -> Result<Header, ApplyError> {
    let failed = |error: io::Error| damaged(shard, &error);
    let (mut input, header) = Opening::begin::<Header>(reader, FORM).map_err(failed)?;
    if header.of_shard() != shard {
        return Err(failed(io::Error::other(format!("it is of {}", header.of_shard()))));
    }
    let (mut pairs, mut bytes) = (Vec::new(), 0);
    loop {
        let pair = input.pair().map_err(failed)?;
        let last = pair.is_none();
        if let Some((key, value)) = pair {
            bytes += key.len() + value.len();
            pairs.push((key, value));
        }
        if last || bytes >= PAGE_BYTES {
            page(std::mem::take(&mut pairs)).map_err(|error| ApplyError::store(shard, error))?;
            bytes = 0;
        }
        if last {
            return Ok(header);
        }
    }
}

fn damaged(shard: Shard, error: &io::Error) -> ApplyError {
    ApplyError::Snapshot { shard, text: error.to_string() }
}
