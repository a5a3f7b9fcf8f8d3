//! Notifications that wait for a session's GET stream.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

/// A bounded queue with at most one reader. A new reader takes the place of the old one.
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    max_events: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    readers: u64,
    read: bool,
}

/// The one reader.
pub(super) struct Reader {
    outbox: Arc<Outbox>,
    number: u64,
    changed: watch::Receiver<()>,
}

impl Outbox {
    pub(super) fn new(max_events: usize) -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()), max_events }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message. One that waits already is not added twice: it says that something changed, and that is still so.
    pub(super) fn push(&self, message: Bytes) {
        let mut state = self.state();
        if state.queue.contains(&message) {
            return;
        }
        if state.queue.len() >= self.max_events {
            tracing::warn!(limit = self.max_events, "dropped the oldest notification of a session without a stream");
            state.queue.pop_front();
        }
        state.queue.push_back(message);
        drop(state);
        self.changed.send_replace(());
    }

    /// Becomes the reader.
    pub(super) fn read(self: &Arc<Self>) -> Reader {
        let changed = self.changed.subscribe();
        let mut state = self.state();
        state.readers += 1;
        state.read = true;
        let number = state.readers;
        drop(state);
        self.changed.send_replace(());
        Reader { outbox: self.clone(), number, changed }
    }

    /// True while there is a reader.
    pub(super) fn is_read(&self) -> bool {
        self.state().read
    }
}

impl Reader {
    /// The next message; `None` when another reader has taken over.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.changed.mark_unchanged();
            {
                let mut state = self.outbox.state();
                if state.readers != self.number {
                    return None;
                }
                if let Some(message) = state.queue.pop_front() {
                    return Some(message);
                }
            }
            self.changed.changed().await.ok()?;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.outbox.state();
        if state.readers == self.number {
            state.read = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn bounded_deduplicated_and_read_by_the_newest() {
        let outbox = Arc::new(Outbox::new(2));
        for message in ["a", "b", "b", "c"] {
            outbox.push(Bytes::from_static(message.as_bytes()));
        }
        assert!(!outbox.is_read());
        let mut first = outbox.read();
        assert_eq!(first.next().await.unwrap(), "b");
        let mut second = outbox.read();
        assert_eq!(first.next().await, None);
        drop(first);
        assert!(outbox.is_read());
        assert_eq!(second.next().await.unwrap(), "c");
        let (next, ()) = tokio::join!(second.next(), async { outbox.push(Bytes::from_static(b"d")) });
        assert_eq!(next.unwrap(), "d");
        drop(second);
        assert!(!outbox.is_read());
    }
}
