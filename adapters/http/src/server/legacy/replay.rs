//! The event streams of one session, kept so that a client whose connection broke can read on where it stopped
//! (2025-11-25, basic/transports, "Resumability and Redelivery").
//!
//! Stream 0 is the session's own, for messages that belong to no request: what it has not sent waits for a reader, bounded, and
//! once only. Every further stream belongs to one POST; its writer waits when there is no room. What was sent makes way for what
//! was not, oldest first.

mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

pub(super) use self::writer::Writer;

/// The session's own stream.
const OWN: u64 = 0;
/// Streams that one session keeps. A further one takes the place of the oldest that has ended and is not read; those that run are as few
/// as the requests that may, and those that are read as few as the client's connections.
const MAX_STREAMS: usize = 512;

/// Where a client stopped: `{stream}-{number}`, the id of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) stream: u64,
    pub(super) number: u64,
}

/// What one session may keep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Messages of the session's own stream that wait for a reader; beyond that the oldest is dropped.
    pub(super) max_waiting: usize,
    /// Events of all streams, those excepted that wait on the session's own.
    pub(super) max_events: usize,
    /// The same in bytes; each stream may hold one message beyond it.
    pub(super) max_bytes: usize,
    /// How long a stream without a reader goes on, and is kept after its end.
    pub(super) resume_timeout: Duration,
}

/// Every stream of one session.
pub(super) struct Replay {
    state: Mutex<State>,
    /// Changes when an event is sent or dropped: a writer may find room.
    room: watch::Sender<()>,
    bounds: Bounds,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<u64, Stream>,
    last: u64,
    /// Counts the events of all streams.
    order: u64,
    events: usize,
    bytes: usize,
}

/// Events are numbered from 1; the priming event is 0.
struct Stream {
    events: VecDeque<Event>,
    /// The number of the first one kept.
    first: u64,
    /// The number of the first one that was not sent.
    unsent: u64,
    readers: u64,
    read: bool,
    /// When the last reader left.
    left: Instant,
    /// The client knows an id of it, and so can come back.
    known: bool,
    ended: bool,
    changed: watch::Sender<()>,
}

struct Event {
    order: u64,
    message: Bytes,
}

/// Reads one stream, until another reader takes its place.
pub(super) struct Reader {
    replay: Arc<Replay>,
    stream: u64,
    reader: u64,
    /// The number of the event that comes next.
    at: u64,
    changed: watch::Receiver<()>,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A message under its id.
    Event(EventId, Bytes),
    /// So many events are no longer kept.
    Gap(u64),
}

impl EventId {
    /// True on the session's own stream.
    pub(super) fn is_own(&self) -> bool {
        self.stream == OWN
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

impl FromStr for EventId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (stream, number) = text.split_once('-').ok_or(())?;
        let read = |digits: &str| digits.parse().map_err(|_| ());
        Ok(Self { stream: read(stream)?, number: read(number)? })
    }
}

impl Stream {
    fn new(known: bool) -> Self {
        Self {
            events: VecDeque::new(),
            first: 1,
            unsent: 1,
            readers: 0,
            read: false,
            left: Instant::now(),
            known,
            ended: false,
            changed: watch::Sender::new(()),
        }
    }

    /// The number that the next event gets.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn waiting(&self) -> usize {
        usize::try_from(self.end() - self.unsent).unwrap_or(usize::MAX)
    }

    fn event(&self, number: u64) -> Option<&Event> {
        self.events.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// True when nobody will ask for it again.
    fn is_over(&self, resume_timeout: Duration) -> bool {
        self.ended && !self.read && self.left.elapsed() >= resume_timeout
    }
}

impl State {
    fn fits(&self, more: usize, bounds: &Bounds) -> bool {
        self.events < bounds.max_events && self.bytes + more <= bounds.max_bytes
    }

    /// Drops the oldest event that was sent; false when there is none.
    fn drop_oldest(&mut self) -> bool {
        let sent = self.streams.values_mut().filter(|stream| stream.first < stream.unsent);
        let oldest = sent.min_by_key(|stream| stream.events.front().map_or(u64::MAX, |event| event.order));
        let Some(stream) = oldest else { return false };
        let Some(event) = stream.events.pop_front() else { return false };
        stream.first += 1;
        self.events -= 1;
        self.bytes -= event.message.len();
        true
    }

    fn remove(&mut self, number: u64) {
        if let Some(stream) = self.streams.remove(&number) {
            self.events -= stream.events.len();
            self.bytes -= stream.events.iter().map(|event| event.message.len()).sum::<usize>();
        }
    }

    /// Makes room for one more stream; true when some were forgotten. The session's own never ends, and so stays.
    fn make_place(&mut self) -> bool {
        let before = self.streams.len();
        while self.streams.len() >= MAX_STREAMS {
            let spare = self.streams.iter().find(|(_, stream)| stream.ended && !stream.read);
            let Some(oldest) = spare.map(|(number, _)| *number) else { break };
            self.remove(oldest);
        }
        self.streams.len() < before
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }
}

impl Replay {
    pub(super) fn new(bounds: Bounds) -> Self {
        let mut state = State::default();
        state.streams.insert(OWN, Stream::new(true));
        Self { state: Mutex::new(state), room: watch::Sender::new(()), bounds }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message on the session's own stream. One that waits already is not added twice: it says that something changed,
    /// and that is still so.
    pub(super) fn tell(&self, message: Bytes) {
        let mut state = self.state();
        let order = state.next_order();
        let Some(own) = state.streams.get_mut(&OWN) else { return };
        let sent = own.events.len() - own.waiting();
        if own.events.iter().skip(sent).any(|event| event.message == message) {
            return;
        }
        if own.waiting() >= self.bounds.max_waiting {
            tracing::warn!(
                limit = self.bounds.max_waiting,
                "dropped the oldest notification of a session without a stream"
            );
            own.events.remove(sent);
        }
        own.events.push_back(Event { order, message });
        own.changed.send_replace(());
    }

    /// True while somebody reads the session's own stream.
    pub(super) fn is_read(&self) -> bool {
        self.state().streams.get(&OWN).is_some_and(|own| own.read)
    }

    /// Reads the session's own stream, from what has not been sent.
    pub(super) fn listen(self: &Arc<Self>) -> Option<Reader> {
        self.read(OWN, u64::MAX)
    }

    /// Reads on after an event; `None` when the stream is not kept.
    pub(super) fn resume(self: &Arc<Self>, after: EventId) -> Option<Reader> {
        self.read(after.stream, after.number.saturating_add(1))
    }

    fn read(self: &Arc<Self>, number: u64, from: u64) -> Option<Reader> {
        let mut state = self.state();
        let stream = state.streams.get_mut(&number)?;
        stream.readers += 1;
        stream.read = true;
        let changed = stream.changed.subscribe();
        let reader = Reader {
            replay: self.clone(),
            stream: number,
            reader: stream.readers,
            at: from.min(stream.unsent),
            changed,
        };
        stream.changed.send_replace(());
        Some(reader)
    }

    /// Forgets streams that nobody came back to.
    pub(super) fn sweep(&self) {
        let mut state = self.state();
        let over = state.streams.iter().filter(|(_, stream)| stream.is_over(self.bounds.resume_timeout));
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| state.remove(number));
        drop(state);
        self.room.send_replace(());
    }

    /// How many streams are kept, the session's own included.
    #[cfg(test)]
    fn kept(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.streams.len(), state.events, state.bytes)
    }
}

impl Reader {
    /// The event before the one that comes next.
    pub(super) fn position(&self) -> EventId {
        EventId { stream: self.stream, number: self.at.saturating_sub(1) }
    }

    /// What comes next; `None` at the end of the stream, or when another reader has taken over.
    pub(super) async fn next(&mut self) -> Option<Found> {
        loop {
            self.changed.mark_unchanged();
            match self.look() {
                Ok(found) => return found,
                Err(()) => self.changed.changed().await.ok()?,
            }
        }
    }

    /// `Err` when there is nothing yet.
    fn look(&mut self) -> Result<Option<Found>, ()> {
        let mut state = self.replay.state();
        let Some(stream) = state.streams.get_mut(&self.stream).filter(|stream| stream.readers == self.reader) else {
            return Ok(None);
        };
        if self.at < stream.first {
            let lost = stream.first - self.at;
            self.at = stream.first;
            return Ok(Some(Found::Gap(lost)));
        }
        let Some(event) = stream.event(self.at) else {
            return if stream.ended { Ok(None) } else { Err(()) };
        };
        let id = EventId { stream: self.stream, number: self.at };
        let message = event.message.clone();
        self.at += 1;
        stream.known = true;
        if stream.unsent < self.at {
            stream.unsent = self.at;
            if self.stream == OWN {
                // It waited outside of the bounds.
                state.events += 1;
                state.bytes += message.len();
                while !state.fits(0, &self.replay.bounds) && state.drop_oldest() {}
            }
        }
        drop(state);
        self.replay.room.send_replace(());
        Ok(Some(Found::Event(id, message)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.replay.state();
        let Some(stream) = state.streams.get_mut(&self.stream).filter(|stream| stream.readers == self.reader) else {
            return;
        };
        stream.read = false;
        stream.left = Instant::now();
        stream.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests;
