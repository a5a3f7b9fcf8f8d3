//! Where a legacy server's requests meet the calls that they belong to.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use spanwire_mcp::{Json, Method, Notification, Request, RequestId, input::InputRequired};
use spanwire_model::{Error, ErrorKind, Result, UpstreamCall};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use super::{
    again::Again,
    attribution::{Attribution, Lane, Target},
    connect::Waits,
    declared::{capabilities, may_be_asked},
    interactive::{Source, at},
    line::Line,
    parked::drive,
    requests::Answers,
    table::{Entry, Resumed, Table},
};

/// Calls that may wait for their turn to ask; further ones are refused, so that they do not take every slot of the server.
const MAX_IN_LINE: usize = 16;

/// One per connection.
pub(super) struct Desk {
    server: Arc<str>,
    table: Mutex<Table>,
    /// Counts what running and waiting calls must look at. They all look: that is rare, and costs a plain call nothing.
    news: AtomicU64,
    wake: Notify,
    lane: Arc<Semaphore>,
    /// For calls that wait for the lane.
    places: Semaphore,
    /// The server's requests say which call they belong to.
    says_whose: bool,
    /// For the turn of a call about which nothing is known.
    first: Duration,
    /// For an answer, while another call waits for its turn.
    give_way: Duration,
}

/// The place of a call in the table, while somebody reads its reply. Dropping it cancels the call.
pub(super) struct Seat {
    desk: Arc<Desk>,
    id: i64,
    seen: u64,
    over: bool,
}

/// What a call waits for before it is sent.
enum Wait {
    /// For its turn among those that ask.
    ForTurn,
    /// For others to end, or for this time.
    Until(Option<Instant>),
}

impl Desk {
    pub(super) fn new(line: &Line, waits: Waits, answers: Answers) -> Self {
        let server = line.server.clone();
        let table = Table {
            server: server.clone(),
            waits,
            answers,
            calls: Default::default(),
            parked: Default::default(),
            again: Again::default(),
            attribution: Attribution::default(),
            closed: None,
            news: false,
        };
        Self {
            server,
            table: Mutex::new(table),
            news: AtomicU64::new(0),
            wake: Notify::new(),
            lane: Arc::new(Semaphore::new(1)),
            places: Semaphore::new(MAX_IN_LINE),
            says_whose: line.wire.says_whose(),
            first: waits.first,
            give_way: waits.give_way,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut table);
        let news = std::mem::take(&mut table.news);
        drop(table);
        if news {
            self.news.fetch_add(1, Ordering::Release);
            self.wake.notify_waiters();
        }
        done
    }

    /// Enters a call that may ask, as soon as the connection takes one. A call that is remembered to ask waits for its lane; every
    /// one waits while a request is held.
    pub(super) async fn enter(
        self: &Arc<Self>,
        id: i64,
        call: &UpstreamCall,
        elicitations: Vec<String>,
    ) -> Result<Seat> {
        let mut entry = Entry::new(call.method.clone(), call.params.clone(), elicitations);
        entry.is_new = !self.says_whose
            && may_be_asked(&call.params)
            && self.with(|table| table.attribution.is_new(&call.method, &call.params));
        if entry.is_new {
            // Without its turn it enters all the same: most calls ask nothing.
            let within = call.deadline.min(Instant::now() + self.first);
            entry.lane =
                tokio::time::timeout_at(within, self.lane.clone().acquire_owned()).await.ok().and_then(Result::ok);
        }
        loop {
            let mut changed = pin!(self.wake.notified());
            changed.as_mut().enable();
            let next = match self.try_enter(id, entry) {
                Ok(seat) => return seat,
                Err((back, Wait::ForTurn)) => {
                    entry = *back;
                    entry.lane = Some(self.lane(call).await?);
                    continue;
                }
                Err((back, Wait::Until(next))) => {
                    entry = *back;
                    next
                }
            };
            let turn = self.next_turn();
            tokio::select! {
                () = changed => {}
                () = at(next) => {}
                () = tokio::time::sleep_until(turn) => {}
                () = tokio::time::sleep_until(call.deadline) => return Err(self.no_turn()),
            }
        }
    }

    /// The entry comes back when it must wait.
    fn try_enter(self: &Arc<Self>, id: i64, entry: Entry) -> Result<Result<Seat>, (Box<Entry>, Wait)> {
        self.with(|table| {
            if let Some(reason) = &table.closed {
                return Ok(Err(Error::new(ErrorKind::Unavailable, reason.to_string())));
            }
            let mut wait = table.attribution.is_holding().then_some(Wait::Until(None));
            if table.attribution.has_asked(&entry.method, &entry.params) {
                let next = table.attribution.forget_cancelled(Instant::now());
                if entry.lane.is_none() {
                    wait = Some(Wait::ForTurn);
                } else if table.is_asker_there() {
                    wait = Some(Wait::Until(next));
                }
            }
            if let Some(wait) = wait {
                return Err((Box::new(entry), wait));
            }
            table.calls.insert(id, entry);
            let seen = self.news.load(Ordering::Acquire);
            Ok(Ok(Seat { desk: self.clone(), id, seen, over: false }))
        })
    }

    /// Waits for its turn, in the order of coming.
    async fn lane(&self, call: &UpstreamCall) -> Result<Lane> {
        let Ok(_place) = self.places.try_acquire() else { return Err(self.no_turn()) };
        let mut turn = pin!(tokio::time::timeout_at(call.deadline, self.lane.clone().acquire_owned()));
        loop {
            let next = self.next_turn();
            tokio::select! {
                biased;
                turn = &mut turn => return match turn {
                    Ok(Ok(lane)) => Ok(lane),
                    // Closed: the table says why.
                    Ok(Err(_)) => Err(self.gone()),
                    Err(_) => Err(self.no_turn()),
                },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Makes way for a call that waits, and says when to look again.
    fn next_turn(&self) -> Instant {
        let now = Instant::now();
        let next = self.with(|table| table.give_way(now));
        next.unwrap_or(now + self.give_way)
    }

    fn gone(&self) -> Error {
        let reason = self.with(|table| table.closed.clone());
        let text = reason.map_or_else(|| format!("server \"{}\" is gone", self.server), |reason| reason.to_string());
        Error::new(ErrorKind::Unavailable, text)
    }

    fn no_turn(&self) -> Error {
        let text = format!(
            "server \"{}\" asks for input in the middle of calls, and can do so for one call at a time only: no turn came in time",
            self.server
        );
        Error::new(ErrorKind::Overloaded, text)
    }

    /// Takes a request of the server.
    pub(super) fn asked(&self, request: Request, call: Option<i64>) {
        self.with(|table| table.asked(request, call, Instant::now()));
    }

    /// When [`Self::overdue`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.with(|table| table.attribution.due())
    }

    /// Refuses what was held too long.
    pub(super) fn overdue(&self) {
        self.with(|table| table.overdue(Instant::now()));
    }

    /// `notifications/cancelled` of the server: about a request of its own.
    pub(super) fn withdraw(&self, notification: &Notification) {
        let id = notification.params.as_ref().and_then(|params| params.get("requestId")?.read::<RequestId>().ok());
        if let Some(id) = id {
            self.with(|table| table.withdraw(&id));
        }
    }

    /// `notifications/elicitation/complete`.
    pub(super) fn completed(&self, notification: &Notification) {
        if !self.with(|table| table.completed(notification)) {
            tracing::debug!(server = %self.server, "an elicitation of no call in flight is complete");
        }
    }

    /// Lets a retry in.
    pub(super) fn resume(
        self: &Arc<Self>,
        call: &UpstreamCall,
        state: &str,
        responses: Option<&Json>,
    ) -> Result<(Resumed, Option<Seat>)> {
        self.with(|table| {
            let resumed = table.resume(call, state, responses, Instant::now())?;
            let seen = self.news.load(Ordering::Acquire);
            let seat = match &resumed {
                Resumed::Parked { id, .. } => Some(Seat { desk: self.clone(), id: *id, seen, over: false }),
                Resumed::Again { .. } => None,
            };
            Ok((resumed, seat))
        })
    }

    /// Makes a question of the error -32042, if the caller can be asked; else gives it back.
    pub(super) fn call_again(&self, error: Error, method: &Method, params: &Json) -> Result<InputRequired> {
        let (target, declared) = (Target::of(method, params), capabilities(params.get("_meta").as_ref()));
        let now = Instant::now();
        self.with(|table| {
            if table.closed.is_some() {
                return Err(error);
            }
            let until = now + table.waits.parked;
            table.again.promise(error, target, &declared, now, until)
        })
    }

    /// The server has answered a parked call.
    pub(super) fn answered(&self, id: i64) {
        self.with(|table| table.answered(id));
    }

    /// Ends a call whose retry has not come in time; `false` when it has.
    pub(super) fn expire(&self, id: i64) -> bool {
        let now = Instant::now();
        self.with(|table| {
            let is_due = |entry: &Entry| entry.kept.as_ref().and_then(|kept| kept.due()).is_some_and(|due| due <= now);
            if table.calls.get(&id).is_some_and(|entry| !is_due(entry)) {
                return false;
            }
            table.cancelled(id, "nobody has answered in time", now);
            true
        })
    }

    /// The server has forgotten everything: a new session.
    pub(super) fn forgotten(&self) {
        self.with(|table| {
            table.attribution.clear();
            table.news = true;
        });
    }

    /// Lets everything go: the connection is gone.
    pub(super) fn close(&self, reason: &Arc<str>) {
        self.with(|table| table.close(reason));
        self.lane.close();
    }

    /// Calls that may ask, parked ones, and ones that are to be made again.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        self.with(|table| (table.calls.len(), table.parked.len(), table.again.len()))
    }
}

impl Seat {
    /// Returns when there may be something for this call. Cancel-safe.
    pub(super) async fn called(&mut self) {
        loop {
            let mut changed = pin!(self.desk.wake.notified());
            changed.as_mut().enable();
            let news = self.desk.news.load(Ordering::Acquire);
            if news != self.seen {
                self.seen = news;
                return;
            }
            changed.await;
        }
    }

    /// What came for this call beside its own stream, and whether it has open questions.
    pub(super) fn look(&self) -> (Vec<Notification>, bool) {
        self.desk.with(|table| match table.calls.get_mut(&self.id) {
            Some(entry) => (entry.beside.drain(..).collect(), !entry.questions.is_empty()),
            None => (Vec::new(), false),
        })
    }

    /// Parks the call: its caller gets what is asked. The source comes back when nothing is asked any more.
    pub(super) fn park(mut self, source: Source) -> Result<InputRequired, (Self, Source)> {
        let state = Uuid::new_v4();
        let parked = self.desk.with(|table| {
            let due = Instant::now() + table.waits.parked;
            let entry = table.calls.get_mut(&self.id).filter(|entry| !entry.questions.is_empty())?;
            let kept = entry.kept.get_or_insert_default().clone();
            kept.wait_until(Some(due));
            entry.state = Some(state);
            entry.told = Some(Instant::now());
            table.parked.insert(state, self.id);
            Some((entry.questions.tell(), kept))
        });
        let Some((requests, kept)) = parked else { return Err((self, source)) };
        self.over = true;
        if let Source::Wire(events) = source {
            tokio::spawn(drive(self.desk.clone(), self.id, events, kept));
        }
        Ok(InputRequired { requests, request_state: Some(state.to_string()) })
    }

    /// The caller has the outcome; what came beside stands before it.
    pub(super) fn end(mut self) -> VecDeque<Notification> {
        self.over = true;
        self.desk.with(|table| table.ended(self.id))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.over {
            self.desk.with(|table| table.cancelled(self.id, "the call was cancelled", Instant::now()));
        }
    }
}
