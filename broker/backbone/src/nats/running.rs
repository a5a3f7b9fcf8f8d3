//! The calls that this node handles, as control messages find them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::window::{Amount, Window};

/// Cancelled calls that are remembered in case the cancellation overtook the request.
const MAX_REMEMBERED: usize = 1024;

/// A part of a request, and its number.
pub(super) type NumberedPart = (u32, Bytes);

/// One call that is handled here.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) cancelled: CancellationToken,
    window: Mutex<Window>,
    /// Rung when there may be room in the window.
    pub(super) room: Notify,
    parts: Option<mpsc::Sender<NumberedPart>>,
}

impl Control {
    pub(super) fn new(window: Amount, parts: Option<mpsc::Sender<NumberedPart>>) -> Self {
        Self {
            cancelled: CancellationToken::new(),
            window: Mutex::new(Window::new(window)),
            room: Notify::new(),
            parts,
        }
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn taken(&self, taken: Amount) {
        self.window().taken(taken);
        self.room.notify_one();
    }

    /// Passes a part on. A caller that sends more than is asked for, or what is not asked for, is cut off.
    pub(super) fn part(&self, part: NumberedPart) {
        let passed_on = self.parts.as_ref().is_some_and(|parts| parts.try_send(part).is_ok());
        if !passed_on {
            self.cancelled.cancel();
        }
    }
}

/// All calls that are handled here, and what was cancelled before it came.
#[derive(Debug, Default)]
pub(super) struct RunningCalls(Mutex<Calls>);

#[derive(Debug, Default)]
struct Calls {
    running: HashMap<String, Arc<Control>>,
    cancelled: HashSet<String>,
    cancelled_in_order: VecDeque<String>,
}

/// Takes a call out of the list when it is dropped.
pub(super) struct Listed<'a> {
    calls: &'a RunningCalls,
    key: &'a str,
}

impl RunningCalls {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a call. False when it is listed already or has been cancelled.
    pub(super) fn list(&self, key: &str, control: Arc<Control>) -> bool {
        let mut calls = self.calls();
        if calls.cancelled.contains(key) || calls.running.contains_key(key) {
            return false;
        }
        calls.running.insert(key.to_owned(), control);
        true
    }

    /// Makes sure that a listed call is taken out again.
    pub(super) fn listed<'a>(&'a self, key: &'a str) -> Listed<'a> {
        Listed { calls: self, key }
    }

    pub(super) fn find(&self, key: &str) -> Option<Arc<Control>> {
        self.calls().running.get(key).cloned()
    }

    /// Cancels a call, now or when it comes.
    pub(super) fn cancel(&self, key: &str) {
        let mut calls = self.calls();
        if let Some(control) = calls.running.get(key) {
            control.cancelled.cancel();
        } else if calls.cancelled.insert(key.to_owned()) {
            calls.cancelled_in_order.push_back(key.to_owned());
            if calls.cancelled_in_order.len() > MAX_REMEMBERED
                && let Some(oldest) = calls.cancelled_in_order.pop_front()
            {
                calls.cancelled.remove(&oldest);
            }
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.calls.calls().running.remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn control() -> Arc<Control> {
        Arc::new(Control::new(Amount { frames: 2, bytes: 2 }, None))
    }

    #[test]
    fn a_cancellation_may_come_first() {
        let calls = RunningCalls::default();
        calls.cancel("early");
        assert!(!calls.list("early", control()));
        for n in 0..MAX_REMEMBERED {
            calls.cancel(&n.to_string());
        }
        assert!(calls.list("early", control()), "forgotten in the end");
        assert!(!calls.list("early", control()), "once only");
        calls.cancel("early");
        assert!(calls.find("early").unwrap().cancelled.is_cancelled());
        drop(calls.listed("early"));
        assert!(calls.find("early").is_none());
    }

    #[test]
    fn parts_that_nobody_asked_for_end_the_call() {
        let control = control();
        control.part((2, Bytes::new()));
        assert!(control.cancelled.is_cancelled());
    }
}
