//! The log of a shard where this node is the only one that keeps it: the newest entries, in the same batches as what they did.
//!
//! What one holds: time (8 bytes), hash after it (32), digest of its changes (32), message. So the chain of hashes can be followed without
//! applying anything.

use bytes::Bytes;
use spanwire_model::{Shard, StoreError, Write};

use crate::{
    cells::Cells,
    position::{Hash, Position},
    shard,
    step::{Logged, Step},
    store::Tree,
};

/// Entries of a shard that are kept.
pub(crate) const ENTRIES_KEPT: u64 = 8_192;

/// Bytes of messages of a shard that are kept; the newest entry in any case.
pub(crate) const BYTES_KEPT: u64 = 64 * 1024 * 1024;

const HEAD_BYTES: usize = 8 + 32 + 32;

/// An entry with what came of it.
pub(crate) struct Kept {
    pub(crate) logged: Logged,
    pub(crate) hash: Hash,
    changed: Hash,
}

fn cells(tree: &Tree, shard: Shard) -> Cells {
    Cells::new(tree, shard::log_prefix(shard))
}

/// The writes that add an entry and drop what is no longer kept; moves the log's part of the step's position.
pub(crate) fn add(
    tree: &Tree,
    shard: Shard,
    entry: &Logged,
    step: &mut Step,
    entries_kept: u64,
) -> Result<Vec<Write>, StoreError> {
    let cells = cells(tree, shard);
    let position = &mut step.position;
    let mut writes = Vec::new();
    let mut value = Vec::with_capacity(HEAD_BYTES + entry.payload.len());
    value.extend(position.time_ms.to_be_bytes());
    value.extend(position.hash.0);
    value.extend(step.changed.0);
    value.extend(&entry.payload);
    position.log_bytes += value.len() as u64;
    cells.change(&entry.sequence.to_be_bytes(), Some(&value), &mut writes)?;
    let spent =
        |position: &Position| entry.sequence - position.first >= entries_kept || position.log_bytes > BYTES_KEPT;
    while position.first < entry.sequence && spent(position) {
        let first = position.first.to_be_bytes();
        let bytes = cells.get(&first)?.map_or(0, |value| value.len() as u64);
        cells.change(&first, None, &mut writes)?;
        position.log_bytes = position.log_bytes.saturating_sub(bytes);
        position.first += 1;
    }
    Ok(writes)
}

/// Entries after `after`, in order.
pub(crate) fn entries(tree: &Tree, shard: Shard, after: u64) -> impl Iterator<Item = Result<Kept, StoreError>> {
    let cells = cells(tree, shard);
    let mut after = after;
    std::iter::from_fn(move || {
        let item = cells.iter(b"", Some(&after.to_be_bytes())).next()?;
        let kept = item.and_then(|(key, value)| read(&key, &value));
        after = kept.as_ref().map_or(u64::MAX, |kept| kept.logged.sequence);
        Some(kept)
    })
}

fn read(key: &[u8], value: &[u8]) -> Result<Kept, StoreError> {
    let damaged = || StoreError::Io { path: "the log of a shard".to_owned(), source: "an entry is cut short".into() };
    let sequence = u64::from_be_bytes(key.try_into().map_err(|_| damaged())?);
    let (time, rest) = value.split_first_chunk().ok_or_else(damaged)?;
    let (hash, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let (changed, message) = rest.split_first_chunk().ok_or_else(damaged)?;
    let logged = Logged { sequence, time_ms: u64::from_be_bytes(*time), payload: Bytes::copy_from_slice(message) };
    Ok(Kept { logged, hash: Hash(*hash), changed: Hash(*changed) })
}

/// Follows the chain of hashes over all entries that are kept, up to the position. Says what is wrong.
pub(crate) fn verify(tree: &Tree, shard: Shard, position: &Position) -> Result<Result<(), String>, StoreError> {
    let mut expected = position.first;
    let mut before: Option<Hash> = (position.first == 1).then(Hash::default);
    for kept in entries(tree, shard, position.first.saturating_sub(1)) {
        let Kept { logged, hash, changed } = kept?;
        let sequence = logged.sequence;
        if sequence != expected {
            return Ok(Err(format!("entry {expected} of shard {shard} is missing")));
        }
        if before.is_some_and(|before| before.next(sequence, Hash::of(&logged.payload), changed) != hash) {
            return Ok(Err(format!("the hash of entry {sequence} of shard {shard} is not that of its content")));
        }
        before = Some(hash);
        expected += 1;
    }
    let last = expected - 1;
    if last != position.sequence {
        return Ok(Err(format!("shard {shard} has applied up to {} and its log ends at {last}", position.sequence)));
    }
    match before {
        Some(hash) if hash != position.hash => Ok(Err(format!("the hash of shard {shard} is not that of its log"))),
        Some(_) | None => Ok(Ok(())),
    }
}
