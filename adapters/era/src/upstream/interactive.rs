//! A call to a legacy server as its caller sees it: from the call or a retry to the outcome, or to the next question.

use std::{collections::VecDeque, sync::Arc};

use futures::StreamExt;
use spanwire_mcp::{
    Json, Method, Notification,
    input::{INPUT_REQUIRED, InputRequired, has_result_type},
};
use spanwire_model::{Error, ErrorKind, Event, Outcome, Reply, Result, UpstreamCall};
use tokio::time::Instant;

use super::{
    connect::Waits,
    desk::{Desk, Seat},
    incoming::{complete, is_wanted, progress},
    level::Level,
    line::Line,
    modern::caller_token,
    outgoing::Outgoing,
    parked::Kept,
    table::Resumed,
};

/// What the calls of one legacy connection share.
#[derive(Clone)]
pub(super) struct Session {
    pub line: Arc<Line>,
    pub level: Arc<Level>,
    pub desk: Arc<Desk>,
    pub waits: Waits,
}

/// What a call's params say that is not for the server.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// One of the eight levels, if the server logs at all.
    pub log_level: Option<String>,
    /// What an earlier `input_required` gave.
    pub request_state: Option<String>,
    /// The answers.
    pub input_responses: Option<Json>,
}

/// Where the events of a call come from.
pub(super) enum Source {
    /// From the server.
    Wire(Reply),
    /// From what is kept of a call that was parked.
    Kept(Arc<Kept>),
}

impl Source {
    async fn next(&mut self) -> Event {
        match self {
            Self::Wire(events) => events.next().await.unwrap_or_else(|| {
                Event::Done(Err(Error::new(ErrorKind::Internal, "the reply of a wire ended without an outcome")))
            }),
            Self::Kept(kept) => kept.next().await,
        }
    }
}

/// Until a time; for ever when there is none.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Session {
    /// Sends a call, or goes on with one that was parked.
    pub(super) fn send(self, call: UpstreamCall, wishes: Wishes) -> Reply {
        Reply::new(async_stream::stream! {
            let level = match wishes.log_level.as_deref() {
                Some(name) => self.level.want(&self.line, name).await,
                None => None,
            };
            let mut turn = match self.begin(call, wishes).await {
                Ok(turn) => turn,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            loop {
                let event = turn.next().await;
                let last = matches!(event, Event::Done(_));
                yield event;
                if last {
                    drop(level);
                    return;
                }
            }
        })
    }

    async fn begin(self, call: UpstreamCall, wishes: Wishes) -> Result<Turn> {
        let state = wishes.request_state.as_deref().filter(|_| call.method.takes_input());
        let Some(state) = state else { return self.open(call, wishes, Vec::new()).await };
        let resumed = self.desk.resume(&call, state, wishes.input_responses.as_ref())?;
        match resumed {
            (Resumed::Parked { kept, answers, .. }, Some(seat)) => {
                for answer in answers {
                    self.line.wire.respond(self.line.revision(), answer).await?;
                }
                let token = caller_token(&call.params);
                let mut turn = Turn::new(self, call, token, wishes.log_level, Source::Kept(kept), Some(seat));
                // What is still open, or was asked meanwhile, is told at once.
                turn.park_at = turn.look().then(Instant::now);
                Ok(turn)
            }
            (Resumed::Again { elicitations }, _) => self.open(call, wishes, elicitations).await,
            (Resumed::Parked { .. }, None) => Err(Error::new(ErrorKind::Internal, "a parked call has no seat")),
        }
    }

    async fn open(self, mut call: UpstreamCall, wishes: Wishes, elicitations: Vec<String>) -> Result<Turn> {
        let id = self.line.next_id();
        let seat = match may_ask(&call.method) {
            true => Some(self.desk.enter(id, &call, elicitations).await?),
            false => None,
        };
        let token = caller_token(&call.params);
        let trace = call.trace.take();
        let progress_token = token.is_some().then_some(id);
        let out = Outgoing { params: &call.params, progress_token, trace: trace.as_ref() };
        let events = self.line.send(id, call.method.clone(), out.legacy(), trace);
        Ok(Turn::new(self, call, token, wishes.log_level, Source::Wire(events), seat))
    }
}

/// True for calls in whose middle a server may ask something. What the broker asks on its own behalf is not among them.
fn may_ask(method: &Method) -> bool {
    method.takes_input() || matches!(method, Method::Complete | Method::Other(_))
}

/// One caller's part of a call.
struct Turn {
    session: Session,
    method: Method,
    params: Json,
    token: Option<Json>,
    log_level: Option<String>,
    source: Source,
    /// The place of a call that may ask, until it ends or is parked.
    seat: Option<Seat>,
    /// When what is asked is told.
    park_at: Option<Instant>,
    ready: VecDeque<Event>,
}

enum Step {
    Event(Event),
    Called,
    Park,
}

impl Turn {
    fn new(
        session: Session,
        call: UpstreamCall,
        token: Option<Json>,
        log_level: Option<String>,
        source: Source,
        seat: Option<Seat>,
    ) -> Self {
        let UpstreamCall { method, params, .. } = call;
        Self { session, method, params, token, log_level, source, seat, park_at: None, ready: VecDeque::new() }
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let step = tokio::select! {
                biased;
                event = self.source.next() => Step::Event(event),
                () = called(&mut self.seat) => Step::Called,
                () = at(self.park_at) => Step::Park,
            };
            match step {
                Step::Event(event) => self.event(event),
                Step::Called => {
                    if self.look() && self.park_at.is_none() {
                        self.park_at = Some(Instant::now() + self.session.waits.gather);
                    }
                }
                Step::Park => self.park(),
            }
        }
    }

    /// What came beside; true when questions are open.
    fn look(&mut self) -> bool {
        let Some(seat) = &self.seat else { return false };
        let (beside, open) = seat.look();
        self.ready.extend(beside.into_iter().map(Event::Notification));
        open
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Progress(notification) => self.ready.extend(progress(notification, self.token.as_ref())),
            Event::Notification(notification) => self.notification(notification),
            Event::Done(outcome) => {
                let beside = self.seat.take().map(Seat::end).unwrap_or_default();
                self.ready.extend(beside.into_iter().map(Event::Notification));
                let outcome = self.outcome(outcome);
                self.ready.push_back(Event::Done(outcome));
            }
        }
    }

    fn notification(&mut self, notification: Notification) {
        let server = &self.session.line.server;
        match &notification.method {
            Method::LogMessage if !is_wanted(&notification, self.log_level.as_deref()) => {
                super::pump::log(server, &notification);
            }
            // On a call's own stream these two still say themselves what they are about.
            Method::Cancelled => self.session.desk.withdraw(&notification),
            Method::ElicitationComplete => self.session.desk.completed(&notification),
            _ => self.ready.push_back(Event::Notification(notification)),
        }
    }

    fn outcome(&self, outcome: Outcome) -> Outcome {
        let result = match outcome {
            Ok(result) => complete(&self.method, &result)?,
            Err(error) if self.method.takes_input() => {
                let asked = self.session.desk.call_again(error, &self.method, &self.params)?;
                return Ok(asked.to_result());
            }
            Err(error) => return Err(error),
        };
        if has_result_type(&result, INPUT_REQUIRED) {
            let text = format!(
                "server \"{}\" asked for input in a form that its revision does not have",
                self.session.line.server
            );
            return Err(Error::new(ErrorKind::BadServer, text));
        }
        Ok(result)
    }

    /// Ends this part of the call with what is asked, unless the server no longer asks.
    fn park(&mut self) {
        self.park_at = None;
        let Some(seat) = self.seat.take() else { return };
        // Whatever comes from now on is kept for the retry.
        let source = std::mem::replace(&mut self.source, Source::Kept(Arc::default()));
        match seat.park(source) {
            Ok(asked) => self.ready.push_back(Event::Done(Ok(InputRequired::to_result(&asked)))),
            Err((seat, source)) => {
                self.seat = Some(seat);
                self.source = source;
            }
        }
    }
}

/// Pending for ever where nothing can be asked.
async fn called(seat: &mut Option<Seat>) {
    match seat {
        Some(seat) => seat.called().await,
        None => std::future::pending().await,
    }
}
