//! What one entry does to a view: everything is decided here, before anything is written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use spanwire_model::{Applied, Command, Entry, NodeId, Receipt, Refusal, RefusalReason};
use uuid::Uuid;

use crate::{
    error::ApplyError,
    operations,
    position::{Hash, Position},
    shard::ShardCell,
    view::{Changes, Transaction},
    wire::{Kind, Message, WireError},
};

/// The newest version of barriers and checkpoints.
const OWN_VERSION: u16 = 1;

/// A message in its place in the log.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) sequence: u64,
    /// The message's own time, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) payload: Bytes,
}

/// What a node says in the log of its view, and what this one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Voice {
    /// The entry after which the hash was taken.
    pub(crate) of: u64,
    pub(crate) hash: Hash,
    /// Who says so.
    pub(crate) node: NodeId,
    /// The hash here; none where it is not known, or not any more.
    pub(crate) own: Option<Hash>,
}

/// What an entry does.
pub(crate) struct Step {
    pub(crate) changes: Changes,
    pub(crate) position: Position,
    /// The operation of a command with its receipt.
    pub(crate) receipt: Option<(Uuid, Receipt)>,
    /// What a checkpoint says. It changes nothing: who is wrong is for whoever feeds the shard to find out.
    pub(crate) voice: Option<Voice>,
    /// The digest of the changes, which is part of the running hash.
    pub(crate) changed: Hash,
}

/// Works out what an entry does. `None` for one that had been applied before. On the writer thread.
pub(crate) fn step(cell: &ShardCell, logged: &Logged, kept: u64) -> Result<Option<Step>, ApplyError> {
    let shard = cell.shard;
    let (head, cells) = {
        let live = cell.live();
        if let Some(error) = &live.stopped {
            return Err(error.clone());
        }
        (live.head.clone(), live.cells.clone())
    };
    let sequence = logged.sequence;
    let digest = Hash::of(&logged.payload);
    if sequence == head.sequence && digest != head.digest {
        return Err(ApplyError::Diverged { shard, sequence, text: "the log holds another message there".to_owned() });
    }
    if sequence <= head.sequence {
        return Ok(None);
    }
    if sequence != head.sequence + 1 {
        return Err(ApplyError::Gap { shard, applied: head.sequence, found: sequence });
    }
    let message = decode(cell, logged)?;
    let time_ms = logged.time_ms.max(head.time_ms);
    let failed = |source| ApplyError::store(shard, source);
    let mut version = head.version;
    let mut changes = Changes::new();
    let (mut receipt, mut voice) = (None, None);
    match message.kind {
        Kind::Barrier => {}
        Kind::Checkpoint { sequence: of, hash } => {
            // What is no hash is nobody's.
            let hash = Hash::read(&hash).unwrap_or_else(|| Hash::of(hash.as_bytes()));
            voice = Some(Voice { of, hash, node: message.author.node, own: cell.hash_at(of) });
        }
        Kind::Command => {
            version = version.max(message.version);
            let operation = message.operation;
            let found = match cell.outcome(operation, false).map_err(failed)? {
                Some(known) => known,
                None => {
                    let Message { version, author, body, .. } = message;
                    let command = Command { operation, version, author, body };
                    let mut transaction = Transaction::new(&cells);
                    let outcome = run(cell, &mut transaction, &Entry { shard, sequence, time_ms, command })?;
                    if outcome.is_ok() {
                        changes = transaction.into_changes();
                    }
                    let receipt = Receipt { sequence, outcome };
                    operations::remember(operation, &receipt, &mut changes).map_err(failed)?;
                    receipt
                }
            };
            receipt = Some((operation, found));
        }
    }
    if let Some(old) = sequence.checked_sub(kept) {
        operations::forget(old, &cells, &mut changes).map_err(failed)?;
    }
    let changed = Hash::of_changes(&changes);
    let hash = head.hash.next(sequence, digest, changed);
    let position = Position { sequence, time_ms, hash, digest, version, ..head };
    Ok(Some(Step { changes, position, receipt, voice, changed }))
}

fn decode(cell: &ShardCell, logged: &Logged) -> Result<Message, ApplyError> {
    let (shard, sequence) = (cell.shard, logged.sequence);
    let message = Message::decode(&logged.payload).map_err(|error| match error {
        WireError::Unknown { .. } => ApplyError::Newer { shard, sequence, text: error.to_string() },
        WireError::Unreadable(_) => ApplyError::Unreadable { shard, sequence, text: error.to_string() },
    })?;
    let known = match message.kind {
        Kind::Command => cell.machine.version(),
        Kind::Barrier | Kind::Checkpoint { .. } => OWN_VERSION,
    };
    if message.version > known {
        let text = format!("it is of version {}, known is {known}", message.version);
        return Err(ApplyError::Newer { shard, sequence, text });
    }
    Ok(message)
}

/// Calls the machine. Its panics are its own.
fn run(cell: &ShardCell, transaction: &mut Transaction<'_>, entry: &Entry) -> Result<Applied, ApplyError> {
    let (shard, sequence) = (entry.shard, entry.sequence);
    let applied = catch_unwind(AssertUnwindSafe(|| cell.machine.apply(transaction, entry)));
    let outcome = match applied {
        Ok(outcome) => outcome.map_err(|source| ApplyError::store(shard, source))?,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            return Err(ApplyError::Panicked { shard, sequence, text });
        }
    };
    if transaction.excess && outcome.is_ok() {
        let text = "a key or a value would be larger than a view can hold".to_owned();
        return Ok(Err(Refusal { reason: RefusalReason::Quota, text, data: None }));
    }
    Ok(outcome)
}
