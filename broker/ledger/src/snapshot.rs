//! A shard's view in one stream of bytes: for the object store, for backups, and for putting it in the place of another view.
//!
//! `spanwire snapshot 1\n`; a header in JSON; every key with its value, in order; an end mark; and the SHA-256 of all before it. Lengths are
//! four bytes, big end first. The same view makes the same bytes. It holds the outcomes of recent operations too, and never the log.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spanwire_model::{Book, Pair, Shard, StoreError};

use crate::{
    error::ApplyError,
    position::{Hash, Position},
    shard::Pinned,
};

const MAGIC: &[u8] = b"spanwire snapshot 1\n";

/// In the place of a key's length: nothing follows but the digest.
const END: u32 = u32::MAX;

/// Bytes of keys and values that are read or written at a time, about.
const PAGE_BYTES: usize = 1024 * 1024;

/// Longest header, key and value that are believed, in bytes.
const MAX_HEADER: u32 = 64 * 1024;
const MAX_KEY: u32 = 4 * 1024;
const MAX_VALUE: u32 = 64 * 1024 * 1024;

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

/// Counts everything that passes into a digest.
struct Digested<T> {
    inner: T,
    digest: Sha256,
}

impl<T> Digested<T> {
    fn new(inner: T) -> Self {
        Self { inner, digest: Sha256::new() }
    }
}

impl<W: Write> Digested<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.inner.write_all(bytes)
    }

    fn put_sized(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a value above 4 GiB"))?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }
}

impl<R: Read> Digested<R> {
    fn take(&mut self, length: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.inner.read_exact(&mut bytes)?;
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn take_length(&mut self) -> io::Result<u32> {
        let mut length = [0; 4];
        self.inner.read_exact(&mut length)?;
        self.digest.update(length);
        Ok(u32::from_be_bytes(length))
    }

    fn take_sized(&mut self, limit: u32, what: &str) -> io::Result<Vec<u8>> {
        let length = self.take_length()?;
        if length > limit {
            return Err(io::Error::other(format!("{what} of {length} bytes")));
        }
        self.take(length)
    }
}

/// Writes a pinned view.
pub(crate) fn write(shard: Shard, pinned: &Pinned, writer: &mut impl Write) -> Result<Header, ApplyError> {
    let failed = |error: io::Error| damaged(shard, &error);
    let header = Header::of(shard, &pinned.position);
    let text = serde_json::to_vec(&header).map_err(|error| failed(error.into()))?;
    let mut out = Digested::new(writer);
    out.put(MAGIC).and_then(|()| out.put_sized(&text)).map_err(failed)?;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = pinned.page(after.as_deref(), PAGE_BYTES)?;
        for (key, value) in &page {
            out.put_sized(key).and_then(|()| out.put_sized(value)).map_err(failed)?;
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    out.put(&END.to_be_bytes()).map_err(failed)?;
    let digest = out.digest.finalize();
    out.inner.write_all(&digest).and_then(|()| out.inner.flush()).map_err(failed)?;
    Ok(header)
}

/// Reads what comes before the keys and values.
pub(crate) fn read_header(shard: Option<Shard>, reader: &mut impl Read) -> io::Result<Header> {
    header(shard, &mut Digested::new(reader))
}

fn header(shard: Option<Shard>, input: &mut Digested<impl Read>) -> io::Result<Header> {
    if input.take(u32::try_from(MAGIC.len()).unwrap_or(0))? != MAGIC {
        return Err(io::Error::other("it is no snapshot of this version"));
    }
    let header: Header = serde_json::from_slice(&input.take_sized(MAX_HEADER, "a header")?)?;
    match shard {
        Some(shard) if shard != header.of_shard() => Err(io::Error::other(format!("it is of {}", header.of_shard()))),
        Some(_) | None => Ok(header),
    }
}

/// Reads a snapshot of `shard`, and not a byte more, and gives its keys and values to `page` in order. What was given is good only when this
/// returns well: the digest is at the end.
pub(crate) fn read(
    shard: Shard,
    reader: &mut impl Read,
    mut page: impl FnMut(Vec<Pair>) -> Result<(), StoreError>,
) -> Result<Header, ApplyError> {
    let failed = |error: io::Error| damaged(shard, &error);
    let mut give = |pairs: &mut Vec<Pair>| {
        let given = page(std::mem::take(pairs));
        given.map_err(|error| ApplyError::store(shard, error))
    };
    let mut input = Digested::new(reader);
    let header = header(Some(shard), &mut input).map_err(failed)?;
    let (mut pairs, mut bytes) = (Vec::new(), 0);
    loop {
        let length = input.take_length().map_err(failed)?;
        if length == END {
            break;
        }
        if length > MAX_KEY {
            return Err(failed(io::Error::other(format!("a key of {length} bytes"))));
        }
        let key = input.take(length).map_err(failed)?;
        let value = input.take_sized(MAX_VALUE, "a value").map_err(failed)?;
        bytes += key.len() + value.len();
        pairs.push((key, value));
        if bytes >= PAGE_BYTES {
            give(&mut pairs)?;
            bytes = 0;
        }
    }
    give(&mut pairs)?;
    let expected = input.digest.finalize();
    let mut found = [0; 32];
    input.inner.read_exact(&mut found).map_err(failed)?;
    if found != *expected {
        return Err(failed(io::Error::other("its digest is not that of its content")));
    }
    Ok(header)
}

fn damaged(shard: Shard, error: &io::Error) -> ApplyError {
    ApplyError::Snapshot { shard, text: error.to_string() }
}
