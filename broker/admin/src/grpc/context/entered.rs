//! A request that came in: its span, and the context on behalf of the operator.

use spanwire_context::OnBehalf;
use spanwire_model::{Error, ErrorKind, Result};
use tonic::{Request, Response, Status};

use super::super::door::Door;
use crate::Control;

const SERVICE: &str = "spanwire.v1.Contexts";

/// A request that came in.
pub(super) struct Entered {
    /// The context as the operator sees it, in the span of the request.
    pub(super) behalf: OnBehalf,
    door: Door,
}

impl Entered {
    /// Errors: `MethodNotFound` on a node that runs without a shared context.
    pub(super) fn by<T>(control: &dyn Control, method: &'static str, request: &Request<T>) -> Result<Self> {
        let contexts = control.contexts().ok_or_else(|| {
            let text = "this node runs without the shared context: its configuration has context.enabled = false";
            Error::new(ErrorKind::MethodNotFound, text)
        })?;
        let door = Door::enter(control.telemetry(), SERVICE, method, request);
        let behalf = contexts.on_behalf(door.author(contexts.node()));
        Ok(Self { behalf, door })
    }

    /// The outcome as an answer; ends the span.
    pub(super) fn leave<T>(self, outcome: Result<T>) -> Result<Response<T>, Status> {
        self.door.leave(outcome)
    }
}
