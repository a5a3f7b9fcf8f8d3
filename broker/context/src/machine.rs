//! What a command does.

use spanwire_model::{Applied, Entry, Machine, Refusal, RefusalReason, StoreError, ViewMut};

use crate::command::{self, Body};

/// The state machine of [`spanwire_model::Book::Context`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ContextMachine;

impl Machine for ContextMachine {
    fn version(&self) -> u16 {
        command::VERSION
    }

    fn apply(&self, _view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError> {
        let _body: Body = match entry.command.body.read() {
            Ok(body) => body,
            Err(error) => return Ok(Err(invalid(format!("not a command of the context: {error}")))),
        };
        Ok(Err(invalid("nothing is done yet")))
    }
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal { reason: RefusalReason::Invalid, text: text.into(), data: None }
}
