//! The open streams, by the id in their endpoint.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use spanwire_mcp::header;
use spanwire_model::{EraChoice, Error, ErrorKind, Principal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::end;
use crate::server::{Caller, Config, Edge, streams::StreamSlot};

/// Requests of one client whose answers are not on its stream yet.
const MAX_POSTED: usize = 64;

/// Every open stream.
pub(crate) struct Pipes {
    open: Mutex<HashMap<Arc<str>, Arc<Pipe>>>,
    /// As many as there may be sessions.
    places: Arc<Semaphore>,
    max: usize,
}

/// One stream, and the session behind it.
pub(crate) struct Pipe {
    id: Arc<str>,
    principal: Principal,
    view: Option<Arc<str>>,
    address: Option<SocketAddr>,
    state: Mutex<State>,
    /// The stream's place among its principal's, until its session has one.
    slot: Mutex<Option<StreamSlot>>,
    tell: mpsc::Sender<Bytes>,
    posted: Arc<Semaphore>,
    closed: CancellationToken,
}

/// How far a client is.
enum State {
    /// It has not sent `initialize`.
    Fresh,
    /// `initialize` is being served.
    Opening,
    /// It has this session.
    Open(HeaderValue),
    /// It is gone.
    Closed,
}

/// A stream that its client holds open. Dropping it ends the session and cancels its calls.
pub(super) struct Held {
    edge: Arc<Edge>,
    pipe: Arc<Pipe>,
    _place: OwnedSemaphorePermit,
}

/// The one `initialize` that is being served. Unless it succeeds, another one may be tried.
pub(super) struct Opening(Arc<Pipe>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipes {
    pub(crate) fn new(config: &Config) -> Self {
        let max = config.sessions.max();
        Self { open: Mutex::default(), places: Arc::new(Semaphore::new(max)), max }
    }

    /// The stream with this id. One of another principal or view is as unknown as one that never was.
    pub(super) fn find(&self, id: &str, caller: &Caller) -> Option<Arc<Pipe>> {
        let pipe = lock(&self.open).get(id).cloned()?;
        let is_theirs = pipe.principal == caller.principal && pipe.view == caller.view;
        (is_theirs && !pipe.closed.is_cancelled()).then_some(pipe)
    }
}

impl Held {
    /// Opens a stream whose messages go where it is told.
    ///
    /// # Errors
    /// `Overloaded` when there are as many as there may be sessions, or as many streams as the principal may hold open.
    pub(super) fn open(edge: &Arc<Edge>, caller: Caller, tell: mpsc::Sender<Bytes>) -> Result<Self, Error> {
        let pipes = &edge.pipes;
        let place =
            pipes.places.clone().try_acquire_owned().map_err(|_| {
                Error::new(ErrorKind::Overloaded, format!("too many sessions: the limit is {}", pipes.max))
            })?;
        let slot = edge.streams.take(&caller.principal)?;
        let pipe = Arc::new(Pipe {
            id: edge.sessions.new_id(),
            principal: caller.principal,
            view: caller.view,
            address: caller.address,
            state: Mutex::new(State::Fresh),
            slot: Mutex::new(Some(slot)),
            tell,
            posted: Arc::new(Semaphore::new(MAX_POSTED)),
            closed: edge.config.shutdown.child_token(),
        });
        lock(&pipes.open).insert(pipe.id.clone(), pipe.clone());
        Ok(Self { edge: edge.clone(), pipe, _place: place })
    }

    pub(super) fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.edge.pipes.open).remove(&self.pipe.id);
        self.pipe.close();
        self.pipe.give_slot_back();
        let before = std::mem::replace(&mut *lock(&self.pipe.state), State::Closed);
        match before {
            State::Open(session) => end(&self.edge, &self.pipe.caller(&session)),
            State::Fresh | State::Opening | State::Closed => {}
        }
    }
}

impl Pipe {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn view(&self) -> Option<&str> {
        self.view.as_deref()
    }

    /// Where messages for the client go.
    pub(super) fn tell(&self) -> &mpsc::Sender<Bytes> {
        &self.tell
    }

    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// From now on the session's own stream has the place.
    pub(super) fn give_slot_back(&self) {
        lock(&self.slot).take();
    }

    /// The session, once it is open.
    pub(super) fn session(&self) -> Option<HeaderValue> {
        match &*lock(&self.state) {
            State::Open(session) => Some(session.clone()),
            State::Fresh | State::Opening | State::Closed => None,
        }
    }

    /// Who asks for the session itself.
    pub(super) fn caller(&self, session: &HeaderValue) -> Caller {
        Caller {
            principal: self.principal.clone(),
            view: self.view.clone(),
            address: self.address,
            headers: HeaderMap::from_iter([(http::HeaderName::from_static(header::SESSION_ID), session.clone())]),
            era: EraChoice::Legacy,
            hop: None,
        }
    }

    /// Takes a place for a request.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.posted.clone().try_acquire_owned().map_err(|_| {
            let text = format!("too many requests whose answers are not read: the limit is {MAX_POSTED}");
            Error::new(ErrorKind::Overloaded, text)
        })
    }

    /// Lets the one `initialize` through.
    pub(super) fn begin_opening(self: &Arc<Self>) -> Result<Opening, Error> {
        let mut state = lock(&self.state);
        match &*state {
            State::Fresh => {
                *state = State::Opening;
                Ok(Opening(self.clone()))
            }
            State::Opening | State::Open(_) | State::Closed => {
                Err(Error::new(ErrorKind::InvalidRequest, "the session is already initialised"))
            }
        }
    }
}

impl Opening {
    /// The session is open. False when the client has gone away meanwhile.
    pub(super) fn opened(self, session: HeaderValue) -> bool {
        let mut state = lock(&self.0.state);
        match &*state {
            State::Fresh | State::Opening => {
                *state = State::Open(session);
                true
            }
            State::Open(_) | State::Closed => false,
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        if matches!(&*state, State::Opening) {
            *state = State::Fresh;
        }
    }
}
