//! Tasks for a client of 2025-11-25 (basic/utilities/tasks), on top of the extension `io.modelcontextprotocol/tasks`.
//!
//! A client that puts `task` into a `tools/call` gets a task whatever answers: the server's own, or, when the server answers at once, one
//! that is over already and is kept in the session. `tasks/result` polls until the task is over; what the server asks meanwhile goes the
//! way of all input: the reply ends with `input_required`, and is made again with the answers.
//!
//! A legacy client of any revision that calls a tool which can only be a task gets the tool's result: the task is seen through for it
//! (ext-tasks, "Backwards Compatibility").
//!
//! [`TaskCall`] is one such request. It does no I/O of its own: it is given [`Dispatcher`].

mod drive;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use spanwire_mcp::{Json, Method, Request, Revision, tasks};
use spanwire_model::{Error, ErrorKind, Outcome, Reply};

use self::{drive::Abandon, table::Table};
use super::Session;
use crate::tasks::{id_in, wants_extension};

/// Dispatches a canonical call of the client.
pub type Dispatcher = Arc<dyn Fn(Method, Json) -> Reply + Send + Sync>;

/// The tasks of one session. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tasks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The view offers tasks, and the client knows them.
    announced: OnceLock<()>,
    table: Mutex<Table>,
}

/// One request about tasks, over all its rounds of input.
#[derive(Debug, Clone)]
pub struct TaskCall {
    what: What,
    tasks: Tasks,
    /// Lives as long as the request: what it asks the client nobody else asks.
    holder: Arc<()>,
    /// The task that is seen through.
    through: Arc<OnceLock<Through>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A tool is called as a task; what the client said of it.
    Call {
        wish: Json,
    },
    /// A tool that can only be a task is called by a client that wants its result.
    Through,
    Get(String),
    Result(String),
    Cancel(String),
    List,
}

/// A task that is seen through; it is cancelled when its request goes away.
#[derive(Debug)]
struct Through {
    id: String,
    abandon: Mutex<Abandon>,
}

impl PartialEq for TaskCall {
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
    }
}

impl Eq for TaskCall {}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_announced(&self) -> bool {
        self.0.announced.get().is_some()
    }

    /// The capabilities of `initialize`, with tasks when the view has them and the revision knows them.
    pub(super) fn announce(&self, revision: Revision, discovered: Option<&Json>, capabilities: Json) -> Json {
        if revision != Revision::V2025_11_25 || !discovered.is_some_and(tasks::is_declared) {
            return capabilities;
        }
        let _ = self.0.announced.set(());
        capabilities.with(&[("tasks", br#"{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#)], &[])
    }

    fn call(&self, what: What) -> TaskCall {
        TaskCall { what, tasks: self.clone(), holder: Arc::default(), through: Arc::default() }
    }

    /// The request about tasks that this is; `None` when it is another, or tasks are not offered.
    pub(super) fn request(&self, request: &Request) -> Option<Result<TaskCall, Error>> {
        if !self.is_announced() {
            return None;
        }
        let params = request.params.clone().unwrap_or_else(Json::empty_object);
        let about = |what: fn(String) -> What| Some(id_in(&params).map(|id| self.call(what(id))));
        match &request.method {
            Method::ToolsCall => {
                let wish = params.get("task").filter(Json::is_object)?;
                Some(Ok(self.call(What::Call { wish })))
            }
            Method::TasksGet => about(What::Get),
            Method::TasksResult => about(What::Result),
            Method::TasksCancel => about(What::Cancel),
            Method::TasksList => Some(Ok(self.call(What::List))),
            _ => None,
        }
    }
}

impl Session {
    /// The call that sees a task through for this request, when the server refused it only because it must be one.
    pub fn through(&self, method: &Method, outcome: &Outcome) -> Option<TaskCall> {
        let refused = outcome.as_ref().err().filter(|_| *method == Method::ToolsCall)?;
        wants_extension(refused).then(|| self.tasks.call(What::Through))
    }
}

/// A task of this session that is not there, or not any more.
fn unknown(id: &str) -> Error {
    let shown: String = id.chars().take(200).collect();
    Error::new(ErrorKind::InvalidParams, format!("unknown task \"{shown}\""))
}

#[cfg(test)]
mod tests;
