//! The calls of one legacy connection that may ask something, and what they ask. Pure state: nothing here waits.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use spanwire_mcp::{ErrorObject, Json, Method, Notification, Request, RequestId, Response, codes, input};
use spanwire_model::{Error, ErrorKind, UpstreamCall};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    again::Again,
    attribution::{Attribution, Lane, Owner, Target},
    connect::Waits,
    declared::capabilities,
    incoming::is_of_task,
    parked::Kept,
    questions::{Questions, refusal, refused},
    requests::{self, Answers},
};

/// Calls of one connection that are parked or about to be; what further ones are asked is refused.
const MAX_PARKED: usize = 256;
/// Notifications that come beside a call's own and wait for its caller.
const MAX_BESIDE: usize = 32;
/// Ids of elicitations that one call is given and that are known again when they are complete.
const MAX_ELICITATIONS: usize = 64;

/// A call that may ask.
pub(super) struct Entry {
    pub method: Method,
    /// Of the call or of its latest retry.
    pub params: Json,
    pub questions: Questions,
    /// Notifications that belong to this call and came on no stream of its own.
    pub beside: VecDeque<Notification>,
    /// What it was asked to visit.
    pub elicitations: Vec<String>,
    /// From when it is parked the first time.
    pub kept: Option<Arc<Kept>>,
    /// While it is parked.
    pub state: Option<Uuid>,
    /// Since when its caller has been told what is asked.
    pub told: Option<Instant>,
    /// The server has answered: it asks nothing any more.
    pub answered: bool,
    /// Held until then, so that the next one enters only after it.
    pub lane: Option<Lane>,
    /// Whether it asks was not known when it came.
    pub is_new: bool,
}

impl Entry {
    pub(super) fn new(method: Method, params: Json, elicitations: Vec<String>) -> Self {
        Self {
            method,
            params,
            questions: Questions::default(),
            beside: VecDeque::new(),
            elicitations,
            kept: None,
            state: None,
            told: None,
            answered: false,
            lane: None,
            is_new: false,
        }
    }

    fn target(&self) -> Target {
        Target::of(&self.method, &self.params)
    }

    fn asks(&self) -> bool {
        self.kept.is_some() || !self.questions.is_empty()
    }
}

/// All of them.
pub(super) struct Table {
    pub server: Arc<str>,
    pub waits: Waits,
    pub answers: Answers,
    pub calls: HashMap<i64, Entry>,
    pub parked: HashMap<Uuid, i64>,
    pub again: Again,
    pub attribution: Attribution,
    /// Why the connection is gone.
    pub closed: Option<Arc<str>>,
    /// Something is there that running or waiting calls must look at.
    pub news: bool,
}

/// A retry that was let in.
pub(super) enum Resumed {
    /// Its call goes on.
    Parked { id: i64, kept: Arc<Kept>, answers: Vec<Response> },
    /// It is to be sent as a new call, which was given these elicitations before.
    Again { elicitations: Vec<String> },
}

impl Table {
    /// Takes a request of the server; `call` is the one on whose own stream it came.
    pub(super) fn asked(&mut self, request: Request, call: Option<i64>, now: Instant) {
        if self.closed.is_some() {
            return;
        }
        let owned = match call {
            _ if !input::is_input(&request.method) => Some((request, Owner::NoCall)),
            Some(id) => Some((request, Owner::Call(id))),
            None if is_of_task(request.params.as_ref()) => Some((request, Owner::NoCall)),
            None => {
                let in_flight = self.calls.iter().filter(|(_, entry)| !entry.answered);
                let in_flight = in_flight.map(|(id, entry)| (*id, entry.target())).collect();
                self.attribution.ask(request, in_flight, now, self.waits.attribute)
            }
        };
        self.settle(owned);
    }

    /// Does what is decided.
    fn settle(&mut self, owned: impl IntoIterator<Item = (Request, Owner)>) {
        for (request, owner) in owned {
            match owner {
                Owner::Call(id) => self.give(request, id),
                Owner::NoCall => self.answers.send(requests::answer(request)),
                Owner::Unknown => {
                    let (server, method) = (&self.server, &request.method);
                    tracing::warn!(%server, %method, "refused a request that may belong to any of several calls");
                    let text = format!("{method} cannot be told to belong to one of several calls: ask again");
                    self.answers.send(refused(request.id, codes::INTERNAL_ERROR, &text));
                }
            }
            // Calls that wait for it look again.
            self.news = true;
        }
    }

    fn give(&mut self, request: Request, id: i64) {
        let asking = self.calls.values().filter(|entry| entry.asks()).count();
        let Some(entry) = self.calls.get_mut(&id).filter(|entry| !entry.answered) else {
            self.answers.send(requests::answer(request));
            return;
        };
        let server_id = request.id.clone();
        let taken = if !entry.method.takes_input() {
            let text = format!("{} cannot ask for input", entry.method);
            Err(ErrorObject::new(codes::METHOD_NOT_FOUND, text))
        } else if let Some(error) = refusal(&capabilities(entry.params.get("_meta").as_ref()), &request) {
            Err(error)
        } else if asking >= MAX_PARKED && !entry.asks() {
            let text = format!("{MAX_PARKED} calls of this connection wait for input already");
            Err(ErrorObject::new(codes::INTERNAL_ERROR, text))
        } else {
            let elicitation = request.params.as_ref().and_then(elicitation_id);
            entry.questions.ask(request).inspect(|()| note(&mut entry.elicitations, elicitation))
        };
        match taken {
            Ok(()) => self.news = true,
            Err(error) => self.answers.send(Response { id: Some(server_id), outcome: Err(error) }),
        }
    }

    /// The server no longer wants an answer.
    pub(super) fn withdraw(&mut self, id: &RequestId) {
        if self.attribution.withdraw(id) {
            self.news = true;
            return;
        }
        let _ = self.calls.values_mut().any(|entry| entry.questions.withdraw(id));
    }

    /// `notifications/elicitation/complete`, for the call that was given that elicitation; `false` when there is none.
    pub(super) fn completed(&mut self, notification: &Notification) -> bool {
        let Some(done) = notification.params.as_ref().and_then(elicitation_id) else { return false };
        let given = |entry: &&mut Entry| entry.elicitations.contains(&done);
        let Some(entry) = self.calls.values_mut().find(given) else { return false };
        entry.elicitations.retain(|id| *id != done);
        if entry.beside.len() < MAX_BESIDE {
            entry.beside.push_back(notification.clone());
        }
        self.news = true;
        true
    }

    /// The server has answered a call; it stays in the table while it is parked.
    pub(super) fn answered(&mut self, id: i64) {
        let Some(entry) = self.calls.get_mut(&id) else { return };
        entry.answered = true;
        let had_turn = entry.lane.take().is_some();
        if std::mem::take(&mut entry.is_new) && !entry.asks() {
            let target = entry.target();
            self.attribution.is_quiet(target);
        }
        // Whoever waits for its turn looks again.
        self.news |= had_turn || self.attribution.has_asked(&entry.method, &entry.params);
        let open = entry.questions.refuse("the call has been answered");
        open.into_iter().for_each(|response| self.answers.send(response));
        let clear = self.attribution.answered(id);
        self.settle(clear);
    }

    /// A call is over, and its caller has the outcome; what came beside its stream is returned.
    pub(super) fn ended(&mut self, id: i64) -> VecDeque<Notification> {
        self.answered(id);
        let Some(entry) = self.calls.remove(&id) else { return VecDeque::new() };
        self.forget(&entry);
        entry.beside
    }

    /// A call is cancelled: its caller has gone, or has not come back.
    pub(super) fn cancelled(&mut self, id: i64, why: &str, now: Instant) {
        let Some(mut entry) = self.calls.remove(&id) else { return };
        self.forget(&entry);
        entry.questions.refuse(why).into_iter().for_each(|response| self.answers.send(response));
        if !entry.answered {
            let until = now + self.waits.cancelled;
            let lost = self.attribution.cancelled(id, entry.target(), until);
            self.settle(lost);
        }
        self.news = true;
    }

    fn forget(&mut self, entry: &Entry) {
        if let Some(state) = &entry.state {
            self.parked.remove(state);
        }
        if let Some(kept) = &entry.kept {
            kept.release();
        }
    }

    /// Another call waits for its turn: questions that have been open for long get no answer. Their server ends the call with that,
    /// which is better known than when it is cancelled. When the next one follows.
    pub(super) fn give_way(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for entry in self.calls.values_mut().filter(|entry| !entry.answered && !entry.questions.is_empty()) {
            let Some(due) = entry.told.map(|told| told + self.waits.give_way) else { continue };
            if due > now {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
                continue;
            }
            let refused = entry.questions.refuse("nobody has answered, and another call waits for its turn to ask");
            refused.into_iter().for_each(|response| self.answers.send(response));
        }
        next
    }

    /// True when a call must wait that is remembered to ask: another such call is there.
    pub(super) fn is_asker_there(&self) -> bool {
        let asks = |entry: &Entry| !entry.answered && self.attribution.has_asked(&entry.method, &entry.params);
        self.attribution.may_still_ask() || self.calls.values().any(asks)
    }

    /// What was held too long for its owner to be found.
    pub(super) fn overdue(&mut self, now: Instant) {
        let late = self.attribution.overdue(now);
        self.settle(late);
    }

    /// Lets a retry in. It takes its state with it only if it is right.
    pub(super) fn resume(
        &mut self,
        call: &UpstreamCall,
        state: &str,
        responses: Option<&Json>,
        now: Instant,
    ) -> Result<Resumed, Error> {
        let invalid = |text: String| Error::new(ErrorKind::InvalidParams, text);
        let unknown = || {
            let text = "requestState is not known: it was used before, it has expired, it belongs to another request, or the \
                        connection to the server was renewed. Call again without it";
            invalid(text.to_owned())
        };
        if let Some(reason) = &self.closed {
            return Err(Error::new(ErrorKind::StreamLost, format!("{reason} during {}", call.method)));
        }
        let state = Uuid::parse_str(state).map_err(|_| unknown())?;
        let target = Target::of(&call.method, &call.params);
        let Some(id) = self.parked.get(&state).copied() else {
            let elicitations = self.again.redeem(&state, &target, responses, now).ok_or_else(unknown)??;
            return Ok(Resumed::Again { elicitations });
        };
        let entry = self.calls.get_mut(&id).filter(|entry| entry.target() == target).ok_or_else(unknown)?;
        let kept = entry.kept.clone().ok_or_else(unknown)?;
        let answers = entry.questions.answer(responses).map_err(invalid)?;
        self.parked.remove(&state);
        entry.state = None;
        entry.told = None;
        entry.params = call.params.clone();
        kept.wait_until(None);
        Ok(Resumed::Parked { id, kept, answers })
    }

    /// The connection is gone: everything is let go, and whoever reads is told why.
    pub(super) fn close(&mut self, reason: &Arc<str>) {
        self.closed.get_or_insert_with(|| reason.clone());
        for (_, entry) in self.calls.drain() {
            if let Some(kept) = entry.kept {
                let text = format!("{reason} during {}", entry.method);
                kept.finish(Err(Error::new(ErrorKind::StreamLost, text)));
                kept.release();
            }
        }
        self.parked.clear();
        self.again.clear();
        self.attribution.clear();
        self.news = true;
    }
}

fn elicitation_id(params: &Json) -> Option<String> {
    params.get("elicitationId")?.read().ok()
}

fn note(ids: &mut Vec<String>, id: Option<String>) {
    if let Some(id) = id.filter(|_| ids.len() < MAX_ELICITATIONS) {
        ids.push(id);
    }
}
