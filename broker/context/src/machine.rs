//! What a command does: a pure function of the view and the entry.
//!
//! Nothing here may ever do something else with the same command: nodes of different versions apply the same log, and their hashes must
//! agree. What changes the outcome of a command of a version needs a new version.

mod drop;
mod expire;
mod refuse;
mod space;
mod write;

use spanwire_mcp::Json;
use spanwire_model::{Applied, Entry, Machine, Refusal, StoreError, ViewMut};

use crate::{
    command::{self, Body},
    layout,
};

/// The state machine of [`spanwire_model::Book::Context`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ContextMachine;

impl Machine for ContextMachine {
    fn version(&self) -> u16 {
        command::MAKES_ROOM
    }

    fn apply(&self, view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError> {
        let done = match entry.command.body.read() {
            Ok(Body::Write { space, transaction, quotas }) => {
                write::apply(view, entry, &space, &transaction, quotas.capped())
            }
            Ok(Body::Expire { limit, quotas }) => expire::apply(view, entry, limit, quotas.capped()),
            Ok(Body::Drop { space }) => drop::apply(view, entry, &space),
            // What a library says of it is nothing that nodes of different builds agree on.
            Err(_) => Err(refuse::invalid("this is no command of the context").into()),
        };
        match done {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
            Err(Stop::Store(error)) => Err(error),
        }
    }
}

/// Why a command was not done.
enum Stop {
    /// It is refused, on every node.
    Refused(Refusal),
    /// The view failed, on this one.
    Store(StoreError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn outcome<T: serde::Serialize>(outcome: &T) -> Result<Json, Stop> {
    Ok(Json::from_trusted(layout::encode(outcome)?))
}
