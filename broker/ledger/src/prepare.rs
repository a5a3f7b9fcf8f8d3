//! What both ledgers check before a command is on its way.

use bytes::Bytes;
use spanwire_model::{Command, Error, ErrorKind, MAX_COMMAND_BYTES, Machine, Result, Shard};

use crate::{shard::ShardCell, wire::Message};

/// The message of a command.
///
/// # Errors
/// `TooLarge`, and `InvalidParams` for a version that this node could not apply itself.
pub(crate) fn payload(shard: Shard, machine: &dyn Machine, command: Command) -> Result<Bytes> {
    let (version, known) = (command.version, machine.version());
    if version == 0 || version > known {
        let text = format!("a command of version {version} for shard {shard}: this node knows 1 to {known}");
        return Err(Error::new(ErrorKind::InvalidParams, text));
    }
    let payload = Message::of(command).encode();
    if payload.len() > MAX_COMMAND_BYTES {
        let text = format!("a command of {} bytes is above the limit of {MAX_COMMAND_BYTES}", payload.len());
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(payload)
}

/// `Unavailable`, with the reason, when the shard goes no further.
pub(crate) fn refuse_if_stopped(cell: &ShardCell) -> Result<()> {
    match &cell.live().stopped {
        Some(error) => Err(error.clone().into()),
        None => Ok(()),
    }
}

/// The command may be in the log, or get there.
pub(crate) fn too_late(shard: Shard) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("shard {shard} did not answer in time"))
}
