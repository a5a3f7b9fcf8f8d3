//! Who may call a server next.
//!
//! A bounded number of calls run at once. The others wait in one line for each principal; the lines are served in turn, one call each, so
//! that whoever sends a thousand calls does not stand before the one call of somebody else. All lines together are bounded, and one
//! principal has at most half of the places, whether or not anybody else wants them: there is room for the next one at any time.
//!
//! Every operation is a short lock and a few steps in maps of at most as many entries as may wait; none waits while it holds the lock.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

/// Of the places to wait, one principal may have one in so many.
const SHARE: usize = 2;

/// Bounds what one server has running and waiting, over all its restarts.
#[derive(Debug)]
pub(crate) struct Gate {
    max_running: usize,
    max_waiting: usize,
    state: Mutex<State>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: usize,
    lines: HashMap<Arc<str>, Line>,
    /// Whose turn is when.
    turns: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
    next_ticket: u64,
    closed: bool,
}

/// The calls of one principal, in the order in which they came. Never empty.
#[derive(Debug)]
struct Line {
    turn: u64,
    tickets: BTreeMap<u64, oneshot::Sender<Slot>>,
}

/// The right to have one call running. Dropping it gives it to the next one.
pub struct Slot(Option<Arc<Gate>>);

/// Why a call may not even wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The server was removed.
    Closed,
    /// So many run, and so many wait.
    Full { running: usize, waiting: usize },
    /// So many calls of this principal wait: all that it may have, of so many places.
    Share { waiting: usize, places: usize },
}

impl Gate {
    pub(crate) fn new(max_running: usize, max_waiting: usize) -> Self {
        Self { max_running: max_running.max(1), max_waiting, state: Mutex::default(), idle: Notify::new() }
    }

    /// Waits for the right to have one more call running. Dropping the future leaves the line at once.
    pub(crate) async fn slot(self: &Arc<Self>, principal: &Arc<str>) -> Result<Slot, Refused> {
        let (ticket, granted) = match self.enter(principal)? {
            Entered::Runs(slot) => return Ok(slot),
            Entered::Waits(ticket, granted) => (ticket, granted),
        };
        let waiting = Waiting { gate: self, principal, ticket };
        let slot = granted.await.map_err(|_| Refused::Closed);
        drop(waiting);
        slot
    }

    fn enter(self: &Arc<Self>, principal: &Arc<str>) -> Result<Entered, Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        // Whoever leaves hands over to those who wait: while there is room, nobody does.
        if state.running < self.max_running {
            state.running += 1;
            return Ok(Entered::Runs(Slot(Some(self.clone()))));
        }
        if state.waiting >= self.max_waiting {
            return Err(Refused::Full { running: self.max_running, waiting: self.max_waiting });
        }
        let share = self.share();
        if state.lines.get(principal).is_some_and(|line| line.tickets.len() >= share) {
            return Err(Refused::Share { waiting: share, places: self.max_waiting });
        }
        let (grant, granted) = oneshot::channel();
        Ok(Entered::Waits(state.wait(principal, grant), granted))
    }

    /// Lets nobody in any more, and sends those away who wait. What runs goes on.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting = 0;
        state.turns.clear();
        let lines = std::mem::take(&mut state.lines);
        drop(state);
        drop(lines);
    }

    /// Returns when nothing runs.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // Before the look, so that what ends in between is heard.
            idle.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Calls that run.
    pub(crate) fn running(&self) -> usize {
        self.state().running
    }

    /// Calls that run and wait.
    pub(crate) fn load(&self) -> usize {
        let state = self.state();
        state.running + state.waiting
    }

    /// A call would not have to wait.
    pub(crate) fn has_room(&self) -> bool {
        self.state().running < self.max_running
    }

    /// Calls that may run at once.
    pub(crate) fn max_running(&self) -> usize {
        self.max_running
    }

    fn share(&self) -> usize {
        (self.max_waiting / SHARE).max(1)
    }

    /// Each critical section leaves the state whole, so a poisoned lock is one that can be used.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has ended: its place goes to the next one.
    fn release(self: Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some(next) = state.next() else {
                state.running = state.running.saturating_sub(1);
                let is_idle = state.running == 0;
                drop(state);
                if is_idle {
                    self.idle.notify_waiters();
                }
                return;
            };
            drop(state);
            match next.send(Slot(Some(self.clone()))) {
                Ok(()) => return,
                // It gave up at this moment. The place is still taken, and goes to the one after it.
                Err(mut slot) => drop(slot.0.take()),
            }
        }
    }
}

impl State {
    fn wait(&mut self, principal: &Arc<str>, grant: oneshot::Sender<Slot>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        if let Some(line) = self.lines.get_mut(principal) {
            line.tickets.insert(ticket, grant);
            return ticket;
        }
        let turn = self.take_turn(principal);
        self.lines.insert(principal.clone(), Line { turn, tickets: BTreeMap::from([(ticket, grant)]) });
        ticket
    }

    fn take_turn(&mut self, principal: &Arc<str>) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, principal.clone());
        turn
    }

    /// Whoever is next; its line goes behind the others.
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        let (_, principal) = self.turns.pop_first()?;
        let mut line = self.lines.remove(&principal)?;
        let (_, grant) = line.tickets.pop_first()?;
        self.waiting -= 1;
        if !line.tickets.is_empty() {
            line.turn = self.take_turn(&principal);
            self.lines.insert(principal, line);
        }
        Some(grant)
    }

    fn leave(&mut self, principal: &Arc<str>, ticket: u64) {
        let Some(line) = self.lines.get_mut(principal) else { return };
        if line.tickets.remove(&ticket).is_none() {
            return;
        }
        self.waiting -= 1;
        if line.tickets.is_empty() {
            let turn = line.turn;
            self.turns.remove(&turn);
            self.lines.remove(principal);
        }
    }
}

enum Entered {
    Runs(Slot),
    Waits(u64, oneshot::Receiver<Slot>),
}

/// A place in a line. Dropping it leaves the line; what was granted at the same moment goes to the next one with its receiver.
struct Waiting<'a> {
    gate: &'a Gate,
    principal: &'a Arc<str>,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.state().leave(self.principal, self.ticket);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.release();
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
mod tests;
