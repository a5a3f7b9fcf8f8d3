//! Where the frames of one reply arrive.
//!
//! The router puts frames in and never waits; the caller takes them out when it is polled. Numbers are checked on arrival:
//! one connection publishes them in order, so a number that is not the next one means that something is lost.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use spanwire_model::NodeId;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::frame::{Head, Kind};

/// Frames beyond the window that are not under credit: an error.
const BEYOND_WINDOW: usize = 2;

/// The arrivals of one reply.
#[derive(Debug)]
pub(super) struct Slot {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    frames: VecDeque<(Head, Bytes)>,
    max_frames: usize,
    arrived: u64,
    last_heard: Instant,
    lost: Option<Lost>,
    node: Option<NodeId>,
    got: u32,
    starved: bool,
}

/// Why there will be no more frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    #[error("no node serves it")]
    Nobody,
    #[error("frame {0} is missing")]
    Gap(u64),
    #[error("more frames came than were asked for")]
    Overflow,
    #[error("a message came that is not a frame")]
    Malformed,
    #[error("nothing was heard for {} ms", .0.as_millis())]
    Silence(Duration),
}

/// What the caller has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Take a frame.
    Frame(Head, Bytes),
    /// Tell again what it has taken: the other side waits, and nothing is here.
    Starved,
}

impl Slot {
    pub(super) fn new(window_frames: usize) -> Self {
        let state = State {
            frames: VecDeque::new(),
            max_frames: window_frames + BEYOND_WINDOW,
            arrived: 0,
            last_heard: Instant::now(),
            lost: None,
            node: None,
            got: 0,
            starved: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Each critical section leaves the state whole, so a poisoned lock is one that can be used.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame has come; `None` for a message that is not one.
    pub(super) fn push(&self, frame: Option<(Head, Bytes)>) {
        self.state().push(frame);
        self.changed.notify_one();
    }

    /// The server says that nobody has the request.
    pub(super) fn nobody(&self) {
        self.state().lost.get_or_insert(Lost::Nobody);
        self.changed.notify_one();
    }

    /// The node that took the request, once it is known.
    pub(super) fn node(&self) -> Option<NodeId> {
        self.state().node.clone()
    }

    /// Waits for what comes next.
    pub(super) async fn next(&self, lost_after: Duration) -> Result<Next, Lost> {
        self.wait(lost_after, |state| {
            if let Some((head, payload)) = state.frames.pop_front() {
                return Some(Next::Frame(head, payload));
            }
            std::mem::take(&mut state.starved).then_some(Next::Starved)
        })
        .await
    }

    /// Waits until the other side has this many parts of the request. False when it answers before that.
    pub(super) async fn got(&self, parts: u32, lost_after: Duration) -> Result<bool, Lost> {
        self.wait(lost_after, |state| {
            let has_them = state.got >= parts;
            (has_them || !state.frames.is_empty()).then_some(has_them)
        })
        .await
    }

    async fn wait<T>(&self, lost_after: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Result<T, Lost> {
        loop {
            let silent_at = {
                let mut state = self.state();
                if let Some(found) = look(&mut state) {
                    return Ok(found);
                }
                if let Some(lost) = &state.lost {
                    return Err(lost.clone());
                }
                state.last_heard + lost_after
            };
            if timeout_at(silent_at, self.changed.notified()).await.is_err() {
                let mut state = self.state();
                // Something may have come at the last moment.
                if state.last_heard + lost_after <= silent_at && state.frames.is_empty() {
                    state.lost.get_or_insert(Lost::Silence(lost_after));
                }
            }
        }
    }
}

impl State {
    fn push(&mut self, frame: Option<(Head, Bytes)>) {
        if self.lost.is_some() {
            return;
        }
        self.last_heard = Instant::now();
        let Some((head, payload)) = frame else {
            self.lost = Some(Lost::Malformed);
            return;
        };
        if head.node.is_some() {
            self.node.clone_from(&head.node);
        }
        if let Kind::Alive { got, starved } = head.kind {
            self.got = self.got.max(got);
            self.starved = starved;
            if head.seq != self.arrived {
                self.lost = Some(Lost::Gap(self.arrived + 1));
            }
        } else if head.seq != self.arrived + 1 {
            self.lost = Some(Lost::Gap(self.arrived + 1));
        } else if self.frames.len() >= self.max_frames {
            self.lost = Some(Lost::Overflow);
        } else {
            self.arrived += 1;
            self.frames.push_back((head, payload));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_AFTER: Duration = Duration::from_millis(50);

    fn frame(seq: u64, kind: Kind) -> Option<(Head, Bytes)> {
        Some((Head { kind, seq, node: None, whole: None }, Bytes::new()))
    }

    async fn outcome(frames: Vec<Option<(Head, Bytes)>>) -> (u64, Lost) {
        let slot = Slot::new(3);
        frames.into_iter().for_each(|frame| slot.push(frame));
        let mut taken = 0;
        loop {
            match slot.next(LOST_AFTER).await {
                Ok(Next::Frame(head, _)) => {
                    taken += 1;
                    assert_eq!(head.seq, taken);
                }
                Ok(Next::Starved) => {}
                Err(lost) => return (taken, lost),
            }
        }
    }

    #[tokio::test]
    async fn losses_are_noticed() {
        let message = |seq| frame(seq, Kind::Message);
        let alive = |seq| frame(seq, Kind::Alive { got: 0, starved: false });
        assert_eq!(outcome(vec![]).await, (0, Lost::Silence(LOST_AFTER)));
        assert_eq!(outcome(vec![message(1), message(2), alive(2)]).await, (2, Lost::Silence(LOST_AFTER)));
        assert_eq!(outcome(vec![message(1), message(3)]).await, (1, Lost::Gap(2)));
        assert_eq!(outcome(vec![message(2)]).await, (0, Lost::Gap(1)));
        assert_eq!(outcome(vec![message(1), message(1)]).await, (1, Lost::Gap(2)));
        assert_eq!(outcome(vec![message(1), alive(2)]).await, (1, Lost::Gap(2)), "a lost tail");
        assert_eq!(outcome(vec![message(1), None]).await, (1, Lost::Malformed));
        assert_eq!(outcome((1..=6).map(message).collect()).await, (5, Lost::Overflow));
    }

    #[tokio::test]
    async fn a_caller_that_was_away_is_not_a_silent_peer() {
        let slot = Slot::new(3);
        slot.state().last_heard -= LOST_AFTER * 3;
        slot.push(frame(1, Kind::Message));
        assert!(matches!(slot.next(LOST_AFTER).await, Ok(Next::Frame(..))));
        slot.push(frame(1, Kind::Alive { got: 2, starved: true }));
        assert_eq!(slot.next(LOST_AFTER).await, Ok(Next::Starved));
        assert_eq!(slot.got(2, LOST_AFTER).await, Ok(true));
        slot.nobody();
        assert_eq!(slot.next(LOST_AFTER).await, Err(Lost::Nobody));
    }
}
