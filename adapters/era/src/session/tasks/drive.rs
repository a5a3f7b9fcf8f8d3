//! One request about tasks, as canonical calls and pauses.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use spanwire_mcp::{
    Json, Method, Notification, ObjectWriter, codes,
    input::{INPUT_REQUIRED, InputRequest, InputRequired, TASK, has_result_type},
    string_literal, tasks,
};
use spanwire_model::{Error, ErrorKind, Event, Outcome, Reply};
use tokio::time::Instant;

use super::{Dispatcher, TaskCall, Through, What, unknown};
use crate::tasks::{Status, declare, id_in, id_of, related, to_legacy, unrelated};

/// Pause between two polls of a task that names none.
const POLL: Duration = Duration::from_secs(1);
/// The shortest such pause, whatever the task names.
const POLL_SHORTEST: Duration = Duration::from_millis(100);
/// The longest one.
const POLL_LONGEST: Duration = Duration::from_secs(60);
/// How long one `tasks/result` waits in one go.
const RESULT_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Tasks on one page of `tasks/list`.
const PAGE: usize = 32;
/// Tasks of one page that are asked for at once.
const AT_ONCE: usize = 8;

/// Cancels a task when it is dropped; holds nothing when there is nothing to cancel any more.
pub(super) struct Abandon(Option<(Dispatcher, Json)>);

impl fmt::Debug for Abandon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Abandon").finish_non_exhaustive()
    }
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let Some((dispatch, params)) = self.0.take() else { return };
        let cancel = dispatch(Method::TasksCancel, params);
        // Outside a runtime the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(cancel.outcome());
        }
    }
}

impl TaskCall {
    /// Serves the request, or its next round. `params` are the canonical ones of the request, with `inputResponses` and
    /// `requestState` in a later round. A result is in the client's form, or asks for input.
    pub fn reply(&self, params: &Json, dispatch: Dispatcher) -> Reply {
        let call = self.clone();
        let params = declare(params);
        match self.what.clone() {
            What::Call { wish } => call.create(wish, &params, &dispatch),
            What::Through => call.see_through(params, dispatch),
            What::Get(_) => Reply::once(async move { call.get(&params, &dispatch).await }),
            What::Result(id) => call.result(id, params, dispatch),
            What::Cancel(id) => Reply::once(async move { call.cancel(&id, &params, &dispatch).await }),
            What::List => Reply::once(async move { call.list(&params, &dispatch).await }),
        }
    }

    /// `tools/call` with `task`.
    fn create(self, wish: Json, params: &Json, dispatch: &Dispatcher) -> Reply {
        let meta = params.get("_meta").unwrap_or_else(Json::empty_object).with(&[(tasks::WISH, wish.as_bytes())], &[]);
        let params = params.with(&[("_meta", meta.as_bytes())], &["task"]);
        let reply = dispatch(Method::ToolsCall, params);
        Reply::new(reply.map(move |event| match event {
            Event::Done(Ok(result)) => Event::Done(self.created(&wish, result)),
            event => event,
        }))
    }

    fn created(&self, wish: &Json, result: Json) -> Outcome {
        if has_result_type(&result, INPUT_REQUIRED) {
            return Ok(result);
        }
        if has_result_type(&result, TASK) {
            let created = to_legacy::created(&result)?;
            self.tasks.lock().seen(created.get("task").unwrap_or_default());
            return Ok(created);
        }
        let task = self.tasks.lock().keep(wish, result.with(&[], &["resultType"]));
        Ok(to_legacy::nested(&task, None))
    }

    /// The task as its server has it, and as the client sees it.
    async fn fetch(&self, params: &Json, dispatch: &Dispatcher) -> Result<(Json, Json, bool), Error> {
        let params = params.with(&[], &["inputResponses", "requestState"]);
        let detailed = dispatch(Method::TasksGet, params).outcome().await?;
        let (task, news) = self.tasks.lock().seen(to_legacy::task(&detailed)?);
        Ok((detailed, task, news))
    }

    async fn get(&self, params: &Json, dispatch: &Dispatcher) -> Outcome {
        let id = id_in(params)?;
        if let Some(task) = self.kept(&id).map(|(task, _)| task) {
            return Ok(task);
        }
        let (detailed, task, _) = self.fetch(params, dispatch).await?;
        Ok(match detailed.get("_meta") {
            Some(meta) => task.with(&[("_meta", meta.as_bytes())], &[]),
            None => task,
        })
    }

    /// A task that is kept here, and its result.
    fn kept(&self, id: &str) -> Option<(Json, Json)> {
        let mut table = self.tasks.lock();
        let known = table.get(id)?;
        Some((known.task.clone(), known.kept.clone()?))
    }

    /// `tasks/result`. Changes of the task are told on the way.
    fn result(self, id: String, params: Json, dispatch: Dispatcher) -> Reply {
        if let Some((_, result)) = self.kept(&id) {
            return Reply::ready(Ok(related(&result, &id)));
        }
        Reply::new(async_stream::stream! {
            if let Err(error) = self.answer(&id, &params, &dispatch).await {
                yield Event::Done(Err(error));
                return;
            }
            let until = Instant::now() + RESULT_WITHIN;
            loop {
                let (detailed, _, news) = match self.fetch(&params, &dispatch).await {
                    Ok(fetched) => fetched,
                    Err(error) => {
                        yield Event::Done(Err(error));
                        return;
                    }
                };
                if news {
                    yield Event::Notification(Notification { method: Method::TaskStatus, params: Some(told(&detailed)) });
                }
                if let Some(outcome) = self.outcome(&id, &detailed, true).transpose() {
                    yield Event::Done(outcome);
                    return;
                }
                if Instant::now() >= until {
                    yield Event::Done(Err(unfinished(&id)));
                    return;
                }
                tokio::time::sleep(pause_of(&detailed)).await;
            }
        })
    }

    /// Gives the server what the client has answered.
    async fn answer(&self, id: &str, params: &Json, dispatch: &Dispatcher) -> Result<(), Error> {
        let Some(responses) = params.get("inputResponses").filter(Json::is_object) else { return Ok(()) };
        let mut plain = ObjectWriter::with_capacity(responses.len());
        for entry in responses.entries() {
            let response = Json::from_trusted(responses.as_bytes().slice(entry.value_range.clone()));
            plain.raw_member(entry.raw_key, unrelated(&response).as_bytes());
        }
        let (plain, literal) = (plain.finish(), string_literal(id));
        let update = params.with(
            &[("taskId", literal.as_bytes()), ("inputResponses", plain.as_bytes())],
            &["requestState", "name", "arguments", "task"],
        );
        dispatch(Method::TasksUpdate, update).outcome().await?;
        if let Some(known) = self.tasks.lock().get(id) {
            known.answered(&responses);
        }
        Ok(())
    }

    /// What a state of the task means for a request that waits for its result; `None` when it goes on waiting. With `relate` the
    /// client knows that it is about a task.
    fn outcome(&self, id: &str, detailed: &Json, relate: bool) -> Result<Option<Json>, Error> {
        if self.tasks.lock().get(id).is_some_and(|known| known.is_cancelled()) {
            return Err(to_legacy::cancelled(id));
        }
        let status = Status::of(detailed)?;
        if status.is_terminal() {
            let payload = to_legacy::payload(detailed)?;
            return Ok(Some(if relate { payload } else { unrelated(&payload) }));
        }
        if status != Status::InputRequired {
            return Ok(None);
        }
        let requests = to_legacy::requests(detailed)?;
        let requests = match self.tasks.lock().get(id) {
            Some(known) => known.claim(requests, &self.holder),
            None => requests,
        };
        if requests.is_empty() {
            return Ok(None);
        }
        let relation = |request: InputRequest| {
            let params = request.params.unwrap_or_else(Json::empty_object);
            InputRequest { params: Some(if relate { related(&params, id) } else { params }), ..request }
        };
        let requests = requests.into_iter().map(relation).collect();
        Ok(Some(InputRequired { requests, request_state: None }.to_result()))
    }

    /// A call whose client wants the result of the task that it becomes.
    fn see_through(self, params: Json, dispatch: Dispatcher) -> Reply {
        Reply::new(async_stream::stream! {
            if self.through.get().is_none() {
                let mut reply = dispatch(Method::ToolsCall, params.clone());
                let result = loop {
                    match reply.next().await {
                        Some(Event::Done(Ok(result))) if has_result_type(&result, TASK) => break result,
                        Some(Event::Done(outcome)) => {
                            yield Event::Done(outcome.map(|result| match has_result_type(&result, INPUT_REQUIRED) {
                                true => result,
                                false => result.with(&[], &["resultType"]),
                            }));
                            return;
                        }
                        Some(event) => yield event,
                        None => return,
                    }
                };
                if let Err(error) = self.begin(&result, &params, &dispatch) {
                    yield Event::Done(Err(error));
                    return;
                }
                tokio::time::sleep(pause_of(&result)).await;
                yield Event::Done(self.wait(&params.with(&[], &["inputResponses"]), &dispatch).await);
            } else {
                yield Event::Done(self.wait(&params, &dispatch).await);
            }
        })
    }

    fn begin(&self, result: &Json, params: &Json, dispatch: &Dispatcher) -> Result<(), Error> {
        let created = to_legacy::created(result)?;
        self.tasks.lock().seen(created.get("task").unwrap_or_default());
        let id = id_of(result).ok_or_else(|| unknown(""))?;
        let abandon = Abandon(Some((dispatch.clone(), about(&id, params))));
        let _ = self.through.set(Through { id, abandon: Mutex::new(abandon) });
        Ok(())
    }

    async fn wait(&self, params: &Json, dispatch: &Dispatcher) -> Outcome {
        let Some(through) = self.through.get() else { return Err(unknown("")) };
        self.answer(&through.id, params, dispatch).await?;
        let params = about(&through.id, params);
        let until = Instant::now() + RESULT_WITHIN;
        loop {
            let (detailed, _, _) = self.fetch(&params, dispatch).await?;
            if Status::of(&detailed)?.is_terminal() {
                through.over();
                self.tasks.lock().forget(&through.id);
            }
            if let Some(outcome) = self.outcome(&through.id, &detailed, false)? {
                return Ok(outcome);
            }
            if Instant::now() >= until {
                return Err(unfinished(&through.id));
            }
            tokio::time::sleep(pause_of(&detailed)).await;
        }
    }

    /// `tasks/cancel`: the client sees the task cancelled from now on (2025-11-25, basic/utilities/tasks, "Task Cancellation").
    async fn cancel(&self, id: &str, params: &Json, dispatch: &Dispatcher) -> Outcome {
        let over = |task: &Json| {
            let status = task.get("status").unwrap_or_default();
            let text = format!("cannot cancel task: it is {} already", status.as_str().trim_matches('"'));
            Error { code: Some(codes::INVALID_PARAMS), ..Error::new(ErrorKind::InvalidParams, text) }
        };
        if let Some((task, _)) = self.kept(id) {
            return Err(over(&task));
        }
        let (_, task, _) = self.fetch(params, dispatch).await?;
        if Status::of(&task)?.is_terminal() {
            return Err(over(&task));
        }
        dispatch(Method::TasksCancel, params.clone()).outcome().await?;
        self.tasks.lock().cancelled(id);
        match self.fetch(params, dispatch).await {
            Ok((_, task, _)) => Ok(task),
            // A server may forget a cancelled task at once.
            Err(_) => Ok(self.tasks.lock().seen(task).0),
        }
    }

    /// `tasks/list`: the tasks of this session.
    async fn list(&self, params: &Json, dispatch: &Dispatcher) -> Outcome {
        let from = match params.get("cursor").filter(|cursor| cursor.as_str() != "null") {
            None => 0,
            Some(cursor) => {
                let read = cursor.read::<String>().ok().and_then(|cursor| cursor.parse::<usize>().ok());
                read.ok_or_else(|| Error::new(ErrorKind::InvalidParams, "params.cursor is none of this list"))?
            }
        };
        let (page, next) = self.tasks.lock().page(from, PAGE);
        let now = page.into_iter().map(|(id, task, kept)| {
            let params = about(&id, &params.with(&[], &["cursor"]));
            async move {
                if kept || Status::of(&task).is_ok_and(Status::is_terminal) {
                    return Some(task);
                }
                match self.fetch(&params, dispatch).await {
                    Ok((_, task, _)) => Some(task),
                    Err(error) if error.json_rpc_code() == codes::INVALID_PARAMS => {
                        self.tasks.lock().forget(&id);
                        None
                    }
                    // What was last seen of it is better than nothing.
                    Err(_) => Some(task),
                }
            }
        });
        let tasks: Vec<Option<Json>> = futures::stream::iter(now).buffered(AT_ONCE).collect().await;
        let tasks: Vec<&str> = tasks.iter().flatten().map(Json::as_str).collect();
        let mut list = ObjectWriter::with_capacity(1024);
        list.member("tasks", format!("[{}]", tasks.join(",")).as_bytes());
        if let Some(next) = next {
            list.member("nextCursor", format!("\"{next}\"").as_bytes());
        }
        Ok(list.finish())
    }
}

impl Through {
    /// There is nothing to cancel any more.
    fn over(&self) {
        self.abandon.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
    }
}

/// The params of a request about this task, with the metadata of another one.
fn about(id: &str, params: &Json) -> Json {
    let mut out = ObjectWriter::with_capacity(id.len() + 256);
    out.member("taskId", string_literal(id).as_bytes());
    if let Some(meta) = params.get("_meta") {
        out.member("_meta", meta.as_bytes());
    }
    out.finish()
}

/// The state of a task as a notification has it.
fn told(detailed: &Json) -> Json {
    detailed.with(&[], &["resultType"])
}

/// The pause between two polls that a task asks for.
fn pause_of(detailed: &Json) -> Duration {
    let named = detailed.get("pollIntervalMs").and_then(|ms| ms.read().ok()).map(Duration::from_millis);
    named.unwrap_or(POLL).clamp(POLL_SHORTEST, POLL_LONGEST)
}

fn unfinished(id: &str) -> Error {
    let text = format!("task \"{id}\" is not over after {} hours", RESULT_WITHIN.as_secs() / 3600);
    Error::new(ErrorKind::DeadlineExceeded, text)
}
