//! One open session: its state, its running requests, and its stream.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use spanwire_era::session::{self as era, Answered, Heard, Retry, RoundId, Step};
use spanwire_mcp::{Json, Notification, Request, RequestId, Response, Revision, input::InputRequired};
use spanwire_model::{Error, ErrorKind, Outcome, Principal};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    feed::Command,
    replay::{Bounds, EventId, Replay},
    resume,
};
use crate::server::{
    Caller,
    streams::{StreamSlot, Streams},
};

/// Requests of one session that run at once, those included that wait for the client's answer; a further one is refused.
const MAX_RUNNING: usize = 256;

/// What a session is opened with.
pub(super) struct Opened {
    pub(super) id: Arc<str>,
    pub(super) principal: Principal,
    pub(super) view: Option<Arc<str>>,
    pub(super) state: era::Session,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) closed: CancellationToken,
    pub(super) bounds: Bounds,
}

/// One open session.
pub(crate) struct Session {
    id: Arc<str>,
    principal: Principal,
    view: Option<Arc<str>>,
    state: Mutex<era::Session>,
    running: Mutex<HashMap<RequestId, CancellationToken>>,
    /// Who waits for a round of the client's answers.
    waiting: Mutex<HashMap<RoundId, oneshot::Sender<Retry>>>,
    replay: Arc<Replay>,
    slot: Mutex<Weak<StreamSlot>>,
    last_used: Mutex<Instant>,
    commands: mpsc::Sender<Command>,
    closed: CancellationToken,
}

/// One running request; dropping it forgets the request.
pub(crate) struct Running {
    session: Arc<Session>,
    id: RequestId,
    token: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub(super) fn new(opened: Opened) -> Self {
        Self {
            id: opened.id,
            principal: opened.principal,
            view: opened.view,
            state: Mutex::new(opened.state),
            running: Mutex::default(),
            waiting: Mutex::default(),
            replay: Arc::new(Replay::new(opened.bounds)),
            slot: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            commands: opened.commands,
            closed: opened.closed,
        }
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(super) fn view(&self) -> Option<&Arc<str>> {
        self.view.as_ref()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.with_state(era::Session::revision)
    }

    /// Reads the state; never across an await.
    pub(crate) fn with_state<T>(&self, read: impl FnOnce(&era::Session) -> T) -> T {
        read(&lock(&self.state))
    }

    /// True while nobody reads or changes the state.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.state.try_lock().is_ok()
    }

    pub(super) fn belongs_to(&self, caller: &Caller) -> bool {
        self.principal == caller.principal && self.view == caller.view
    }

    pub(crate) fn touch(&self) {
        *lock(&self.last_used) = Instant::now();
    }

    /// How long nothing has used the session: no message, no running request, no open stream.
    pub(super) fn idle(&self) -> Duration {
        if !lock(&self.running).is_empty() || self.replay.is_read() {
            self.touch();
        }
        lock(&self.last_used).elapsed()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Ends the session, its stream and its running requests.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    pub(super) fn step(&self, request: &Request) -> Step {
        lock(&self.state).request(request)
    }

    pub(super) fn hear(&self, notification: &Notification) -> Heard {
        lock(&self.state).notification(notification)
    }

    /// Notes a running request. An id that is running already is refused, since a response could not be told apart.
    pub(super) fn start(self: &Arc<Self>, id: &RequestId) -> Result<Running, Error> {
        let token = self.closed.child_token();
        let mut running = lock(&self.running);
        if running.len() >= MAX_RUNNING {
            let text = format!("more than {MAX_RUNNING} requests of this session run already");
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        match running.entry(id.clone()) {
            Entry::Vacant(vacant) => vacant.insert(token.clone()),
            Entry::Occupied(_) => {
                let text = format!("request id {} is in use", crate::server::gate::excerpt(&id.to_json()));
                return Err(Error::new(ErrorKind::InvalidRequest, text));
            }
        };
        drop(running);
        Ok(Running { session: self.clone(), id: id.clone(), token })
    }

    pub(super) fn cancel(&self, id: &RequestId) {
        if let Some(token) = lock(&self.running).get(id) {
            token.cancel();
        }
    }

    /// Turns what a server asks into requests to the client; the receiver gets the answers.
    pub(super) fn ask(
        &self,
        required: InputRequired,
    ) -> Result<(RoundId, oneshot::Receiver<Retry>, Vec<Bytes>), Error> {
        let asked = lock(&self.state).ask(required)?;
        let (sender, answered) = oneshot::channel();
        lock(&self.waiting).insert(asked.round, sender);
        Ok((asked.round, answered, asked.requests.iter().map(Request::to_bytes).collect()))
    }

    /// Takes a response of the client. One that answers nothing is late, and is left aside.
    pub(super) fn answer(&self, response: Response) {
        let answered = lock(&self.state).answer(response);
        match answered {
            Answered::Complete(round, retry) => {
                if let Some(waiting) = lock(&self.waiting).remove(&round) {
                    let _ = waiting.send(retry);
                }
            }
            Answered::Partly => {}
            Answered::Nothing => tracing::debug!("left aside a response to nothing that was asked"),
        }
    }

    /// Takes back the questions of a round, unless it is complete: what the client is told, and what the server is told.
    pub(super) fn withdraw(&self, round: RoundId, reason: &str) -> Option<(Vec<Bytes>, Retry)> {
        lock(&self.waiting).remove(&round);
        let withdrawn = lock(&self.state).withdraw(round, reason)?;
        Some((withdrawn.notifications.iter().map(Notification::to_bytes).collect(), withdrawn.retry))
    }

    /// Starts the session's listen stream, if it does not run. A full queue means that a start is on its way.
    pub(super) fn feed(&self) {
        let _ = self.commands.try_send(Command { uri: None, answer: None });
    }

    /// Opens the listen stream with this resource in it.
    pub(super) async fn subscribe(&self, uri: String) -> Outcome {
        let outcome = self.reopen(Some(uri.clone())).await;
        if outcome.is_err() {
            lock(&self.state).unsubscribe(&uri);
        }
        outcome
    }

    /// Opens the listen stream without the resource that has been taken back.
    pub(super) async fn unsubscribe(&self) -> Outcome {
        self.reopen(None).await
    }

    async fn reopen(&self, uri: Option<String>) -> Outcome {
        let gone = || Error::new(ErrorKind::SessionGone, "the session has ended");
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command { uri, answer: Some(answer) }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map(|()| Json::empty_object())
    }

    /// Puts a notification on the session's stream.
    pub(super) fn push(&self, notification: Notification) {
        if let Some(notification) = era::notification(self.revision(), notification) {
            self.tell(notification.to_bytes());
        }
    }

    /// Puts a message on the session's stream.
    pub(super) fn tell(&self, message: Bytes) {
        self.replay.tell(message);
    }

    /// The session's streams.
    pub(super) fn replay(&self) -> &Arc<Replay> {
        &self.replay
    }

    /// What cancels those of these requests that run.
    pub(super) fn tokens(&self, ids: &[RequestId]) -> Vec<CancellationToken> {
        let running = lock(&self.running);
        ids.iter().filter_map(|id| running.get(id).cloned()).collect()
    }

    /// The session's own stream, in place of an earlier one: after an event, or from what has not been sent.
    pub(super) fn stream(
        &self,
        streams: &Streams,
        after: Option<EventId>,
        keep_alive: Duration,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, Error> {
        let slot = self.slot(streams)?;
        let closed = self.closed.clone();
        let reader = match after {
            Some(after) => self.replay.resume(after),
            None => self.replay.listen(),
        };
        let reader = reader.ok_or_else(|| Error::new(ErrorKind::Internal, "the session has no stream of its own"))?;
        let (ids, primes) = self.with_state(|state| (state.resumes(), state.primes()));
        let opening = (primes && after.is_none()).then(|| resume::priming(reader.position()));
        Ok(async_stream::stream! {
            let _slot = slot;
            let events = resume::events(reader, opening, ids, keep_alive);
            tokio::pin!(events);
            loop {
                let event = tokio::select! {
                    () = closed.cancelled() => None,
                    event = events.next() => event,
                };
                match event {
                    Some(event) => yield event,
                    None => break,
                }
            }
        })
    }

    /// The place of the session's stream among its principal's: the earlier stream's, while that still ends.
    fn slot(&self, streams: &Streams) -> Result<Arc<StreamSlot>, Error> {
        let mut place = lock(&self.slot);
        if let Some(slot) = place.upgrade() {
            return Ok(slot);
        }
        let slot = Arc::new(streams.take(&self.principal)?);
        *place = Arc::downgrade(&slot);
        Ok(slot)
    }
}

impl Running {
    /// Ends when the request is cancelled or its session is.
    pub(super) async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.session.running).remove(&self.id);
        self.session.touch();
    }
}
