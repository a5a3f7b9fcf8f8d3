//! Tasks of a legacy server (2025-11-25, basic/utilities/tasks), as the extension `io.modelcontextprotocol/tasks` has them.
//!
//! **Which calls become tasks.** The extension leaves it to the server, and here the server's own listing decides: a tool with
//! `execution.taskSupport` `required` or `optional` is called as a task when the client declares the extension, and plainly when it
//! does not; `required` then is refused as a missing capability. `optional` means a task because its author expects it to take
//! long, and a client that declares the extension holds a handle that outlives its connection. The listings are learned as they pass.
//!
//! **What the client polls.** `tasks/get` asks the server's `tasks/get`; a task that is over also its `tasks/result`. A task that needs
//! input has its requests in [`inputs`]. Whoever listens to a task is served by [`watch`].

mod inputs;
mod watch;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use futures::StreamExt;
use spanwire_mcp::{Json, Method, Notification, Request, RequestId, Revision, codes, meta, tasks};
use spanwire_model::{Error, ErrorKind, Event, Outcome, Reply, ServerFacts, TraceContext, UpstreamCall};
use tokio_util::sync::CancellationToken;

use self::inputs::Inputs;
use super::{line::Line, outgoing::Outgoing, requests::Answers};
use crate::tasks::{
    Status, id_in, missing_extension,
    to_extension::{self, Detail},
};

/// Tools whose `taskSupport` is kept for one server; further ones are called plainly.
const MAX_TOOLS: usize = 4096;
/// How long a server is asked to keep a task whose client cannot say, in milliseconds: a day.
const TTL_MS: u64 = 24 * 60 * 60 * 1000;
/// Tasks that one listener may watch; further ones are left out of the honoured filter.
const MAX_WATCHED: usize = 64;

/// What a tool's listing says of tasks. Tools that forbid them are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    Required,
    Optional,
}

/// What the server offers.
#[derive(Debug, Clone, Copy)]
struct Offer {
    cancel: bool,
}

/// The tasks of one connection to a legacy server.
pub(super) struct Tasks {
    line: Arc<Line>,
    offer: OnceLock<Offer>,
    tools: Mutex<HashMap<String, Support>>,
    inputs: Arc<Inputs>,
}

impl Tasks {
    pub(super) fn new(line: Arc<Line>, answers: Answers, stop: CancellationToken) -> Self {
        let inputs = Arc::new(Inputs::new(line.clone(), answers, stop));
        Self { line, offer: OnceLock::new(), tools: Mutex::default(), inputs }
    }

    /// Reads what the server offers, and says it as 2026-07-28 does.
    pub(super) fn offered(&self, facts: ServerFacts) -> ServerFacts {
        if facts.revision != Revision::V2025_11_25 {
            return facts;
        }
        let Some(capabilities) = to_extension::capabilities(&facts.capabilities) else { return facts };
        let cancel = facts.capabilities.get("tasks").and_then(|tasks| tasks.get("cancel"));
        let _ = self.offer.set(Offer { cancel: cancel.is_some_and(|cancel| cancel.is_object()) });
        ServerFacts { capabilities, ..facts }
    }

    /// True when calls of this server may be tasks. Everything below is for such servers only.
    pub(super) fn are_offered(&self) -> bool {
        self.offer.get().is_some()
    }

    /// Passes a listing on, and learns from it.
    pub(super) fn listing(self: &Arc<Self>, reply: Reply) -> Reply {
        let tasks = self.clone();
        Reply::new(reply.inspect(move |event| {
            if let Event::Done(Ok(page)) = event {
                tasks.learn(page);
            }
        }))
    }

    fn learn(&self, page: &Json) {
        let mut known = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        for tool in page.get("tools").iter().flat_map(Json::elements) {
            let Some(name) = tool.get("name").and_then(|name| name.read::<String>().ok()) else { continue };
            let support = tool.get("execution").and_then(|execution| execution.get("taskSupport")).unwrap_or_default();
            let support = match support.as_str() {
                "\"required\"" => Some(Support::Required),
                "\"optional\"" => Some(Support::Optional),
                _ => None,
            };
            match support {
                Some(support) if known.len() < MAX_TOOLS || known.contains_key(&name) => {
                    known.insert(name, support);
                }
                Some(_) | None => {
                    known.remove(&name);
                }
            }
        }
    }

    /// A tool's call as it goes to the server, and whether it is a task.
    pub(super) fn prepare(&self, call: UpstreamCall) -> Result<(UpstreamCall, bool), Error> {
        let name = call.params.get("name").and_then(|name| name.read::<String>().ok()).unwrap_or_default();
        let support = self.tools.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
        let declared = support.is_some() && tasks::is_declared_by(&call.params);
        match support {
            Some(Support::Required) if !declared => Err(missing_extension(&format!("tool \"{name}\""))),
            Some(_) if declared => {
                let wish = call.params.get("_meta").and_then(|meta_in| meta_in.get(tasks::WISH));
                let task =
                    wish.filter(Json::is_object).unwrap_or_else(|| Json::from_trusted(format!("{{\"ttl\":{TTL_MS}}}")));
                let params = call.params.with(&[("task", task.as_bytes())], &[]);
                Ok((UpstreamCall { params, ..call }, true))
            }
            // What a modern client calls `task` is no wish for one.
            Some(_) | None if call.params.get("task").is_some() => {
                let params = call.params.with(&[], &["task"]);
                Ok((UpstreamCall { params, ..call }, false))
            }
            Some(_) | None => Ok((call, false)),
        }
    }

    /// Passes the events of a call on that may have become a task.
    pub(super) fn created(reply: Reply) -> Reply {
        Reply::new(reply.map(|event| match event {
            Event::Done(Ok(result)) => Event::Done(to_extension::created(&result).unwrap_or(Ok(result))),
            event => event,
        }))
    }

    /// Answers `tasks/get`, `tasks/update` and `tasks/cancel`.
    pub(super) fn answer(self: &Arc<Self>, call: UpstreamCall) -> Reply {
        let tasks = self.clone();
        Reply::once(async move {
            if !tasks::is_declared_by(&call.params) {
                return Err(missing_extension(call.method.as_str()));
            }
            let asked = Asked::of(&call)?;
            match call.method {
                Method::TasksUpdate => tasks.update(&asked, &call.params).await,
                Method::TasksCancel => tasks.cancel(&asked).await,
                _ => tasks.detail(&asked).await.map(|detailed| to_extension::got(&detailed)),
            }
        })
    }

    /// The task as the extension has it, with what belongs to its status.
    async fn detail(&self, asked: &Asked) -> Outcome {
        let task = self.ask(Method::TasksGet, asked).await?;
        let status = Status::of(&task)?;
        match status {
            Status::Working => {
                self.inputs.calm(&asked.id);
                to_extension::detailed(&task, status, &Detail::None)
            }
            Status::Cancelled => {
                self.inputs.over(&asked.id);
                to_extension::detailed(&task, status, &Detail::None)
            }
            Status::Completed | Status::Failed => {
                self.inputs.over(&asked.id);
                to_extension::finished(&task, self.ask(Method::TasksResult, asked).await)
            }
            Status::InputRequired => {
                let requests = self.inputs.requests(&asked.id, &asked.capabilities).await?;
                // Everything was answered, and the server has not said so yet.
                if requests.is_empty() {
                    return to_extension::detailed(&task, Status::Working, &Detail::None);
                }
                to_extension::detailed(&task, status, &Detail::Requests(requests))
            }
        }
    }

    async fn update(&self, asked: &Asked, params: &Json) -> Outcome {
        let responses = params
            .get("inputResponses")
            .filter(Json::is_object)
            .ok_or_else(|| Error::new(ErrorKind::InvalidParams, "params.inputResponses is missing or no object"))?;
        if !self.inputs.answer(&asked.id, &responses).await? {
            // Nothing of it was asked: is there such a task at all?
            self.ask(Method::TasksGet, asked).await?;
        }
        Ok(acknowledged())
    }

    async fn cancel(&self, asked: &Asked) -> Outcome {
        if self.offer.get().is_none_or(|offer| !offer.cancel) {
            // The extension obliges a server only to acknowledge (ext-tasks, "Task Cancellation").
            self.ask(Method::TasksGet, asked).await?;
            return Ok(acknowledged());
        }
        match self.ask(Method::TasksCancel, asked).await {
            Ok(_) => {}
            // This code is for an unknown task and for one that is over; the latter is no error there.
            Err(error) if error.code == Some(codes::INVALID_PARAMS) => {
                self.ask(Method::TasksGet, asked).await.map_err(|_| error)?;
            }
            Err(error) => return Err(error),
        }
        self.inputs.over(&asked.id);
        Ok(acknowledged())
    }

    async fn ask(&self, method: Method, asked: &Asked) -> Outcome {
        self.line.send(self.line.next_id(), method, asked.params.clone(), asked.trace.clone()).outcome().await
    }

    /// Takes a request of the server that belongs to a task; gives back any other. `call` is our id of the call on whose stream it
    /// came.
    pub(super) fn request(&self, request: Request, call: Option<i64>) -> Option<Request> {
        if self.are_offered() { self.inputs.take(request, call) } else { Some(request) }
    }

    /// The server wants no answer to a request of its own any more; `false` when it belongs to no task.
    pub(super) fn withdrawn(&self, id: &RequestId) -> bool {
        self.are_offered() && self.inputs.withdrawn(id)
    }

    /// The server has a new session: what it had asked in the old one cannot be answered.
    pub(super) fn forgotten(&self) {
        self.inputs.forgotten();
    }
}

/// A client's question about a task, as it goes to the server.
struct Asked {
    id: String,
    params: Json,
    /// What the client can be asked: an object.
    capabilities: Json,
    trace: Option<TraceContext>,
}

impl Asked {
    fn of(call: &UpstreamCall) -> Result<Self, Error> {
        let id = id_in(&call.params)?;
        Ok(Self::about(id, &call.params.with(&[], &["inputResponses"]), call.trace.clone()))
    }

    /// `params` are the client's, with `taskId` in them.
    fn about(id: String, params: &Json, trace: Option<TraceContext>) -> Self {
        let out = Outgoing { params, progress_token: None, trace: trace.as_ref() }.legacy();
        let declared = params.get("_meta").and_then(|meta_in| meta_in.get(meta::CLIENT_CAPABILITIES));
        let capabilities = declared.filter(Json::is_object).unwrap_or_else(Json::empty_object);
        Self { id, params: out, capabilities, trace }
    }
}

/// The tasks of a filter that a server can tell of.
pub(super) fn watchable(mut wanted: Vec<String>, facts: &ServerFacts) -> Vec<String> {
    if !tasks::is_declared(&facts.capabilities) {
        return Vec::new();
    }
    wanted.sort();
    wanted.dedup();
    wanted.truncate(MAX_WATCHED);
    wanted
}

/// The task that a status notification of a legacy server is about.
pub(super) fn told_of(notification: &Notification) -> Option<String> {
    crate::tasks::id_of(notification.params.as_ref()?)
}

fn acknowledged() -> Json {
    Json::from_trusted(&b"{\"resultType\":\"complete\"}"[..])
}

#[cfg(test)]
mod tests;
