//! What the server of a task asks of its client.
//!
//! A legacy server asks while `tasks/result` is open, so one is kept open for each task that needs input. Its requests wait here until a
//! client answers them with `tasks/update`, the task is over, or no client has asked for it for [`IDLE`]; then the server gets an
//! error, so that it never waits for ever.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use spanwire_mcp::{
    ErrorObject, Json, Method, Request, RequestId, Response, codes,
    input::{self, InputRequest, missing_capability},
    string_literal,
};
use spanwire_model::{Error, ErrorKind, Event, Outcome, Reply};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    tasks::{related, related_to, unrelated},
    upstream::{line::Line, questions::refusal_code, requests::Answers},
};

/// Tasks of one connection that may need input at once.
const MAX_TASKS: usize = 64;
/// Requests of one task that may wait at once; further ones are refused.
const MAX_PENDING: usize = 32;
/// How long a task may wait for a client that does not ask for it.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// How long a client waits for the first request after `tasks/result` was opened.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The tasks of one connection that need input.
pub(super) struct Inputs {
    line: Arc<Line>,
    answers: Answers,
    stop: CancellationToken,
    /// Makes keys unique over the life of a task, which may be longer than a connection.
    epoch: u128,
    table: Mutex<Table>,
    arrived: Notify,
}

#[derive(Default)]
struct Table {
    waiting: HashMap<String, Waiting>,
    last_key: u64,
}

/// One task. It has a task of the runtime that holds its `tasks/result` and removes it in the end.
struct Waiting {
    pending: Vec<Pending>,
    /// Since when `tasks/result` should be open; `None` when it need not be.
    open: Option<Instant>,
    /// Our id of the open `tasks/result`.
    call: Option<i64>,
    touched: Instant,
    over: bool,
    wake: Arc<Notify>,
}

struct Pending {
    key: String,
    request: Request,
}

impl Inputs {
    pub(super) fn new(line: Arc<Line>, answers: Answers, stop: CancellationToken) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Self { line, answers, stop, epoch, table: Mutex::default(), arrived: Notify::new() }
    }

    /// Takes a request that belongs to a task; gives back any other.
    pub(super) fn take(self: &Arc<Self>, request: Request, call: Option<i64>) -> Option<Request> {
        if !input::is_input(&request.method) {
            return Some(request);
        }
        let id = request.params.as_ref().and_then(related_to).or_else(|| self.held_by(call?));
        let Some(id) = id else { return Some(request) };
        let refused = self.enter(&id, false).err().or_else(|| self.push(&id, request.clone()).err());
        if let Some(error) = refused {
            let answer = ErrorObject::new(codes::INTERNAL_ERROR, error.public.into_owned());
            self.answers.send(Response { id: Some(request.id), outcome: Err(answer) });
        }
        None
    }

    fn held_by(&self, call: i64) -> Option<String> {
        let table = self.lock();
        table.waiting.iter().find(|(_, waiting)| waiting.call == Some(call)).map(|(id, _)| id.clone())
    }

    fn push(&self, id: &str, request: Request) -> Result<(), Error> {
        let mut guard = self.lock();
        let table = &mut *guard;
        let Some(waiting) = table.waiting.get_mut(id) else { return Ok(()) };
        if waiting.pending.len() >= MAX_PENDING {
            let text = format!("task \"{id}\" waits for {MAX_PENDING} answers already");
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        table.last_key += 1;
        waiting.pending.push(Pending { key: format!("{:x}-{}", self.epoch, table.last_key), request });
        drop(guard);
        self.arrived.notify_waiters();
        Ok(())
    }

    /// Everything that the client of a task is asked now. What it cannot be asked is refused to the server.
    pub(super) async fn requests(self: &Arc<Self>, id: &str, capabilities: &Json) -> Result<Vec<InputRequest>, Error> {
        self.enter(id, true)?;
        self.first(id).await;
        let (asked, refused) = self.sort(id, capabilities);
        for (request, error) in refused {
            self.respond(request, Err(error)).await;
        }
        Ok(asked)
    }

    /// Waits until there is a request, or until none is to be expected soon.
    async fn first(&self, id: &str) {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            let until = match self.lock().waiting.get(id) {
                Some(Waiting { pending, open: Some(since), over: false, .. }) if pending.is_empty() => {
                    *since + FIRST_WITHIN
                }
                Some(_) | None => return,
            };
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    fn sort(&self, id: &str, capabilities: &Json) -> (Vec<InputRequest>, Vec<(RequestId, ErrorObject)>) {
        let (mut asked, mut refused) = (Vec::new(), Vec::new());
        let mut table = self.lock();
        let Some(waiting) = table.waiting.get_mut(id) else { return (asked, refused) };
        waiting.pending.retain(|Pending { key, request }| {
            let Some(missing) = missing_capability(capabilities, &request.method, request.params.as_ref()) else {
                let params = request.params.as_ref().map(|params| unrelated(params).with(&[], &["task"]));
                asked.push(InputRequest { key: key.clone(), method: request.method.clone(), params });
                return true;
            };
            refused.push((request.id.clone(), undeclared(capabilities, &request.method, &missing)));
            false
        });
        (asked, refused)
    }

    /// Gives the server the answers to what it has asked; keys that nothing waits under mean nothing. `false` when no key did.
    pub(super) async fn answer(&self, id: &str, responses: &Json) -> Result<bool, Error> {
        if let Some(entry) = responses.entries().find(|entry| entry.value.first() != Some(&b'{')) {
            let text = format!("params.inputResponses[{}] is no object", string_literal(&entry.key()));
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        for (request, response) in self.answered(id, responses) {
            let outcome = match input::response_error(&response) {
                Some(error) => Err(error),
                None => Ok(related(&response, id)),
            };
            self.line.wire.respond(self.line.revision(), Response { id: Some(request), outcome }).await?;
        }
        Ok(self.lock().waiting.contains_key(id))
    }

    fn answered(&self, id: &str, responses: &Json) -> Vec<(RequestId, Json)> {
        let mut answers = Vec::new();
        let mut table = self.lock();
        let Some(waiting) = table.waiting.get_mut(id) else { return answers };
        waiting.touched = Instant::now();
        waiting.pending.retain(|pending| match responses.get(&pending.key) {
            Some(response) => {
                answers.push((pending.request.id.clone(), response));
                false
            }
            None => true,
        });
        answers
    }

    /// The task works again: `tasks/result` is closed, unless something still waits.
    pub(super) fn calm(&self, id: &str) {
        self.change(id, |waiting| {
            if waiting.pending.is_empty() {
                waiting.over = true;
            }
        });
    }

    /// The task is over.
    pub(super) fn over(&self, id: &str) {
        self.change(id, |waiting| waiting.over = true);
    }

    /// The server wants no answer to this request any more.
    pub(super) fn withdrawn(&self, request: &RequestId) -> bool {
        let mut table = self.lock();
        let mut found = false;
        for waiting in table.waiting.values_mut() {
            let before = waiting.pending.len();
            waiting.pending.retain(|pending| pending.request.id != *request);
            found |= waiting.pending.len() < before;
        }
        found
    }

    /// The server has forgotten its requests.
    pub(super) fn forgotten(&self) {
        for waiting in self.lock().waiting.values_mut() {
            waiting.pending.clear();
            waiting.over = true;
            waiting.wake.notify_one();
        }
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self.lock().waiting.get_mut(id) {
            change(waiting);
            waiting.wake.notify_one();
        }
    }

    /// Enters a task, or touches it; with `open` its `tasks/result` is opened.
    fn enter(self: &Arc<Self>, id: &str, open: bool) -> Result<(), Error> {
        let mut table = self.lock();
        let now = Instant::now();
        if let Some(waiting) = table.waiting.get_mut(id) {
            waiting.touched = now;
            waiting.over = false;
            if open && waiting.open.is_none() {
                waiting.open = Some(now);
                waiting.wake.notify_one();
            }
            return Ok(());
        }
        if table.waiting.len() >= MAX_TASKS {
            let text = format!("{MAX_TASKS} tasks of server \"{}\" wait for input already", self.line.server);
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        let wake = Arc::new(Notify::new());
        let waiting = Waiting {
            pending: Vec::new(),
            open: open.then_some(now),
            call: None,
            touched: now,
            over: false,
            wake: wake.clone(),
        };
        table.waiting.insert(id.to_owned(), waiting);
        drop(table);
        tokio::spawn(self.clone().hold(id.to_owned(), wake));
        Ok(())
    }

    /// Holds what is open for one task, until it needs nothing any more.
    async fn hold(self: Arc<Self>, id: String, wake: Arc<Notify>) {
        let mut open: Option<Reply> = None;
        while let Some((wanted, idle)) = self.look(&id) {
            match (&open, wanted) {
                (None, true) => open = Some(self.open(&id)),
                (Some(_), false) => open = None,
                (None, false) | (Some(_), true) => {}
            }
            tokio::select! {
                outcome = ended(&mut open) => {
                    open = None;
                    self.ended(&id, &outcome);
                }
                () = wake.notified() => {}
                () = tokio::time::sleep_until(idle) => {}
                () = self.stop.cancelled() => {
                    self.lock().waiting.remove(&id);
                    break;
                }
            }
        }
        self.arrived.notify_waiters();
    }

    /// Whether `tasks/result` should be open, and when the task has waited too long. `None` when it is to be forgotten, with its
    /// requests answered.
    fn look(self: &Arc<Self>, id: &str) -> Option<(bool, Instant)> {
        let mut table = self.lock();
        let waiting = table.waiting.get(id)?;
        let idle = waiting.touched + IDLE;
        if !waiting.over && Instant::now() < idle {
            return Some((waiting.open.is_some(), idle));
        }
        let why = if waiting.over { "the task needs no input any more" } else { "the client did not answer in time" };
        let waiting = table.waiting.remove(id)?;
        drop(table);
        for pending in waiting.pending {
            let outcome = Err(ErrorObject::new(codes::INTERNAL_ERROR, why));
            self.answers.send(Response { id: Some(pending.request.id), outcome });
        }
        None
    }

    fn open(&self, id: &str) -> Reply {
        let call = self.line.next_id();
        if let Some(waiting) = self.lock().waiting.get_mut(id) {
            waiting.call = Some(call);
        }
        let params = Json::from_trusted(format!("{{\"taskId\":{}}}", string_literal(id)));
        self.line.send(call, Method::TasksResult, params, None)
    }

    /// `tasks/result` has ended: with the task, or on its own.
    fn ended(&self, id: &str, outcome: &Outcome) {
        if let Some(waiting) = self.lock().waiting.get_mut(id) {
            waiting.call = None;
            waiting.open = None;
            waiting.over |= outcome.is_ok() || waiting.pending.is_empty();
        }
    }

    async fn respond(&self, id: RequestId, outcome: Result<Json, ErrorObject>) {
        let sent = self.line.wire.respond(self.line.revision(), Response { id: Some(id), outcome }).await;
        if let Err(error) = sent {
            tracing::debug!(server = %self.line.server, %error, "an answer could not be sent");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of what is open; never when nothing is.
async fn ended(open: &mut Option<Reply>) -> Outcome {
    let Some(reply) = open else { return std::future::pending().await };
    loop {
        match reply.next().await {
            Some(Event::Done(outcome)) => return outcome,
            Some(Event::Progress(_) | Event::Notification(_)) => {}
            None => return Err(Error::new(ErrorKind::Internal, "reply ended without an outcome")),
        }
    }
}

/// The refusal of what a client has not declared.
fn undeclared(capabilities: &Json, method: &Method, missing: &Json) -> ErrorObject {
    ErrorObject::new(
        refusal_code(capabilities, missing),
        format!("{method}: the client of this task has not declared {}", missing.as_str()),
    )
}
