//! The writing side of one POST's stream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::sleep_until};

use super::{Event, Replay, Stream};

/// Writes the stream of one POST. Dropping it ends the stream.
pub(in super::super) struct Writer {
    replay: Arc<Replay>,
    stream: u64,
    changed: watch::Receiver<()>,
}

impl Replay {
    /// A stream for one POST, and its number. `known`: it begins with an event that has an id.
    pub(in super::super) fn begin(self: &Arc<Self>, known: bool) -> (u64, Writer) {
        let mut state = self.state();
        let has_room = state.make_place();
        state.last += 1;
        let number = state.last;
        let stream = Stream::new(known);
        let changed = stream.changed.subscribe();
        state.streams.insert(number, stream);
        drop(state);
        if has_room {
            self.room.send_replace(());
        }
        (number, Writer { replay: self.clone(), stream: number, changed })
    }
}

impl Writer {
    /// Adds a message; waits while there is no room for it.
    pub(in super::super) async fn push(&self, message: Bytes) {
        if self.try_push(&message) {
            return;
        }
        let mut room = self.replay.room.subscribe();
        while !self.try_push(&message) {
            if room.changed().await.is_err() {
                return;
            }
        }
    }

    /// A stream without anything unsent always has room, so that none waits for another.
    fn try_push(&self, message: &Bytes) -> bool {
        let mut state = self.replay.state();
        while !state.fits(message.len(), &self.replay.bounds) && state.drop_oldest() {}
        let fits = state.fits(message.len(), &self.replay.bounds);
        let order = state.next_order();
        let Some(stream) = state.streams.get_mut(&self.stream) else { return true };
        if !fits && stream.waiting() > 0 {
            return false;
        }
        stream.events.push_back(Event { order, message: message.clone() });
        stream.changed.send_replace(());
        state.events += 1;
        state.bytes += message.len();
        true
    }

    /// Ends when nobody reads the stream, and nobody will come back: a client that knows no id of it cannot, and any other had its
    /// time.
    pub(in super::super) async fn abandoned(&self) {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            let until = {
                let state = self.replay.state();
                let Some(stream) = state.streams.get(&self.stream) else { return };
                let grace = if stream.known { self.replay.bounds.resume_timeout } else { Duration::ZERO };
                (!stream.read).then(|| stream.left + grace)
            };
            let gone = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = gone => return,
                changed = changed.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends the stream and keeps nothing of it.
    pub(in super::super) fn forget(self) {
        self.replay.state().remove(self.stream);
        self.replay.room.send_replace(());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.replay.state();
        if let Some(stream) = state.streams.get_mut(&self.stream) {
            stream.ended = true;
            stream.changed.send_replace(());
        }
    }
}
