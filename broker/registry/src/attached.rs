//! A server that is attached to this node and can be called.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use spanwire_model::{Error, ErrorKind, Fence, Result, ServerFacts, ServerId, Upstream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    pub(crate) gate: Arc<Gate>,
}

/// Bounds what one server has in flight and waiting, over all its restarts.
pub(crate) struct Gate {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    max_in_flight: usize,
}

/// The right to have one call in flight. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl Gate {
    pub(crate) fn new(max_in_flight: usize, max_waiting: usize) -> Self {
        let max_in_flight = max_in_flight.max(1);
        Self {
            slots: Arc::new(Semaphore::new(max_in_flight)),
            waiting: AtomicUsize::new(0),
            max_waiting,
            max_in_flight,
        }
    }

    /// Lets nobody in any more, and sends those away who wait.
    pub(crate) fn close(&self) {
        self.slots.close();
    }
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

    /// Waits for the right to have one more call in flight. The caller bounds the time.
    ///
    /// # Errors
    /// `Overloaded` when too many calls wait already, `Unavailable` when the server was removed, or its lease lost.
    pub async fn slot(&self) -> Result<Slot> {
        let slot = self.free_slot().await?;
        self.may_run()?;
        Ok(slot)
    }

    async fn free_slot(&self) -> Result<Slot> {
        if let Ok(permit) = self.gate.slots.clone().try_acquire_owned() {
            return Ok(Slot(permit));
        }
        let waiting = Waiting::enter(&self.gate, &self.id)?;
        let permit = self.gate.slots.clone().acquire_owned().await;
        drop(waiting);
        permit
            .map(Slot)
            .map_err(|_| Error::new(ErrorKind::Unavailable, format!("server \"{}\" is being removed", self.id)))
    }

    /// Calls in flight at the moment.
    pub fn in_flight(&self) -> usize {
        self.gate.max_in_flight.saturating_sub(self.gate.slots.available_permits())
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(gate: &'a Gate, id: &ServerId) -> Result<Self> {
        if gate.waiting.fetch_add(1, Ordering::AcqRel) >= gate.max_waiting {
            gate.waiting.fetch_sub(1, Ordering::AcqRel);
            let text =
                format!("server \"{id}\" has {} calls in flight and {} waiting", gate.max_in_flight, gate.max_waiting);
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        Ok(Self(&gate.waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
