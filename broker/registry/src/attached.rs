//! A server that is attached to this node and can be called.

use std::{sync::Arc, time::Duration};

use spanwire_model::{Error, ErrorKind, Fence, Result, ServerFacts, ServerId, Upstream};

use crate::queue::{Gate, Refused, Slot};

/// A server that is attached to this node and can be called.
pub struct Attached {
    /// Its id.
    pub id: ServerId,
    /// The connection.
    pub upstream: Arc<dyn Upstream>,
    /// What it said of itself.
    pub facts: Arc<ServerFacts>,
    /// How it is reached.
    pub transport: Arc<str>,
    /// Longest that one call may take.
    pub call_timeout: Option<Duration>,
    /// The lease by which it runs here, where it needs one.
    pub(crate) fence: Option<Fence>,
    /// It is the only one of its server, and goes to another node when this one is gone.
    pub(crate) is_one_that_moves: bool,
    pub(crate) gate: Arc<Gate>,
}

impl Attached {
    /// Whether a call may be sent to it at this moment. Asked before each one, also those that need no slot: the process may have been
    /// paused for so long that another node has the server now.
    ///
    /// # Errors
    /// `Unavailable` when this node no longer has the server's lease: nothing was executed.
    pub fn may_run(&self) -> Result<()> {
        match &self.fence {
            Some(fence) if !fence.is_valid() => {
                let text = format!("server \"{}\" runs on another node by now, or soon will", self.id);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Waits for the right to have one more call in flight, in the line of this principal. The caller bounds the time.
    ///
    /// # Errors
    /// `Overloaded` when too many calls wait already, of everybody or of this principal; `Unavailable` when the server was removed, or its
    /// lease lost.
    pub async fn slot(&self, principal: &Arc<str>) -> Result<Slot> {
        let slot = self.gate.slot(principal).await.map_err(|refused| self.refusal(refused, principal))?;
        self.may_run()?;
        Ok(slot)
    }

    fn refusal(&self, refused: Refused, principal: &str) -> Error {
        let id = &self.id;
        match refused {
            Refused::Closed => Error::new(ErrorKind::Unavailable, format!("server \"{id}\" is being removed")),
            Refused::Full { running, waiting } => Error::new(
                ErrorKind::Overloaded,
                format!("server \"{id}\" has {running} calls in flight and {waiting} waiting"),
            ),
            Refused::Share { waiting, places } => Error::new(
                ErrorKind::Overloaded,
                format!("server \"{id}\" has {waiting} calls of \"{principal}\" waiting, its share of {places}"),
            ),
        }
    }

    /// The error for a call that waited for a slot until its budget was used up.
    pub fn no_slot_in_time(&self) -> Error {
        let text = format!(
            "server \"{}\" had no free slot in time: {} calls in flight are its limit",
            self.id,
            self.gate.max_running()
        );
        Error::new(ErrorKind::Overloaded, text)
    }

    /// True for a server that runs on one node at a time, and on another one when that is gone: what it does not know of, no replica
    /// does.
    pub fn is_one_that_moves(&self) -> bool {
        self.is_one_that_moves
    }

    /// Calls in flight at the moment.
    pub fn in_flight(&self) -> usize {
        self.gate.running()
    }

    /// Calls in flight and waiting at the moment.
    pub fn load(&self) -> u32 {
        u32::try_from(self.gate.load()).unwrap_or(u32::MAX)
    }

    /// Returns when no call is in flight.
    pub async fn idle(&self) {
        self.gate.idle().await;
    }

    /// One more call would not have to wait.
    pub fn has_room(&self) -> bool {
        self.gate.has_room()
    }
}
