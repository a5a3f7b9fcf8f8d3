//! The client's side: a legacy session (2024-11-05 to 2025-11-25) seen as canonical calls.
//!
//! [`Session`] holds what the older revisions keep between requests (the handshake, the log level, resource
//! subscriptions, what the client is asked in mid-call) and does no I/O: the edge gives it each message and does what the
//! [`Step`] says. What comes back from the broker goes through [`ending`] and [`notification`] on its way to the client.
//!
//! Sources: 2025-11-25 basic/lifecycle, basic/utilities, client, server/resources; 2026-07-28 basic/index, "_meta", and
//! basic/patterns/mrtr.

mod adapt;
mod exchange;
mod handshake;
mod input;
mod tasks;
mod translate;

use std::collections::BTreeSet;

use spanwire_mcp::{
    Era, Json, Method, Notification, ObjectWriter, Params, Request, RequestId, Revision, SubscriptionFilter, meta,
    string_literal,
};
use spanwire_model::{Error, ErrorKind};

pub use self::{
    exchange::{Ending, Exchange, MAX_ROUNDS, ending},
    handshake::negotiate,
    input::{Answered, Asked, MAX_ANSWER_BYTES, MAX_QUESTIONS, Questions, Refusal, Retry, RoundId, Withdrawn},
    tasks::{Dispatcher, TaskCall},
    translate::notification,
};

/// Resources that one session may be subscribed to.
pub const MAX_SUBSCRIPTIONS: usize = 256;

/// The log level of a session that has set none: a legacy server chooses, and this is what most show.
pub const DEFAULT_LOG_LEVEL: &str = "info";

/// The levels of `logging/setLevel`, least severe first (2025-11-25, server/utilities/logging).
const LOG_LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// What a legacy client and the broker have agreed on, and what the client has asked for since.
#[derive(Debug, Clone)]
pub struct Session {
    revision: Revision,
    client_info: Option<Json>,
    /// As 2026-07-28 has them.
    capabilities: Json,
    log_level: &'static str,
    resources: BTreeSet<String>,
    questions: Questions,
    tasks: tasks::Tasks,
}

/// What to do about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Answer at once.
    Answer(Result<Json, Error>),
    /// Dispatch a canonical call and answer with its outcome, through [`ending`].
    Call {
        /// The canonical method.
        method: Method,
        /// The canonical params.
        params: Json,
    },
    /// A request about tasks: what [`TaskCall::reply`] brings is answered with, through [`ending`].
    Task(TaskCall),
    /// Open the session's `subscriptions/listen` anew with [`Session::listen_params`]; answer `{}` when the
    /// acknowledgement has this resource, and take it back with [`Session::unsubscribe`] when it has not.
    Subscribe(String),
    /// Open the session's `subscriptions/listen` anew; answer `{}`.
    Unsubscribe,
}

/// What a client's notification means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The handshake is complete.
    Initialized,
    /// The request with this id is no longer wanted.
    Cancelled(RequestId),
    /// Nothing that the broker acts on.
    Nothing,
}

impl Session {
    /// The negotiated revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What the client declared in `initialize`, as 2026-07-28 has it: an object.
    pub fn client_capabilities(&self) -> &Json {
        &self.capabilities
    }

    /// True when a stream that broke can be read on by the id of its last event
    /// (2025-03-26 to 2025-11-25, basic/transports, "Resumability and Redelivery").
    pub fn resumes(&self) -> bool {
        self.revision.era() == Era::Legacy && self.revision >= Revision::V2025_03_26
    }

    /// True when a stream begins with an event that has an id and no message. Clients of older revisions would take it for a
    /// message (2025-11-25, basic/transports, "Sending Messages to the Server").
    pub fn primes(&self) -> bool {
        self.revision == Revision::V2025_11_25
    }

    /// Decides on a request other than `initialize`.
    pub fn request(&mut self, request: &Request) -> Step {
        let empty = || Step::Answer(Ok(Json::empty_object()));
        match self.tasks.request(request) {
            Some(Ok(call)) => return Step::Task(call),
            Some(Err(error)) => return Step::Answer(Err(error)),
            None => {}
        }
        match &request.method {
            Method::Ping => empty(),
            Method::SetLevel => match read(request).and_then(|params| self.set_level(params.level.as_deref())) {
                Ok(()) => empty(),
                Err(error) => Step::Answer(Err(error)),
            },
            Method::ResourcesSubscribe => match uri(request).and_then(|uri| self.subscribe(uri)) {
                Ok(uri) => Step::Subscribe(uri),
                Err(error) => Step::Answer(Err(error)),
            },
            Method::ResourcesUnsubscribe => match uri(request) {
                Ok(uri) if self.unsubscribe(&uri) => Step::Unsubscribe,
                Ok(_) => empty(),
                Err(error) => Step::Answer(Err(error)),
            },
            Method::ToolsList
            | Method::ToolsCall
            | Method::PromptsList
            | Method::PromptsGet
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
            | Method::Complete
            | Method::Other(_) => {
                Step::Call { method: request.method.clone(), params: self.canonical_params(request.params.as_ref()) }
            }
            Method::Initialize => {
                Step::Answer(Err(Error::new(ErrorKind::InvalidRequest, "the session is already initialised")))
            }
            Method::Discover
            | Method::Listen
            | Method::SamplingCreateMessage
            | Method::ElicitationCreate
            | Method::RootsList
            | Method::Initialized
            | Method::Cancelled
            | Method::Progress
            | Method::LogMessage
            | Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged
            | Method::ResourceUpdated
            | Method::SubscriptionAcknowledged
            | Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::TasksResult
            | Method::TasksList
            | Method::TaskStatus
            | Method::LegacyTaskStatus
            | Method::ElicitationComplete
            | Method::RootsListChanged => {
                let text = format!("unknown method \"{}\" in revision {}", request.method, self.revision);
                Step::Answer(Err(Error::new(ErrorKind::MethodNotFound, text)))
            }
        }
    }

    /// Decides on a notification. One that cannot be read means nothing.
    pub fn notification(&self, notification: &Notification) -> Heard {
        match &notification.method {
            Method::Initialized => Heard::Initialized,
            Method::Cancelled => {
                let id = notification.params.as_ref().and_then(|params| params.get("requestId"));
                id.and_then(|id| id.read().ok()).map_or(Heard::Nothing, Heard::Cancelled)
            }
            _ => Heard::Nothing,
        }
    }

    /// The params of a request as 2026-07-28 has them: the same, with the metadata that each request carries.
    pub fn canonical_params(&self, params: Option<&Json>) -> Json {
        let params = params.cloned().unwrap_or_else(Json::empty_object);
        let meta = params.get("_meta").filter(Json::is_object).unwrap_or_else(Json::empty_object);
        let version = string_literal(Revision::CANONICAL.as_str());
        let level = string_literal(self.log_level);
        let mut set: Vec<(&str, &[u8])> = vec![
            (meta::PROTOCOL_VERSION, version.as_bytes()),
            (meta::CLIENT_CAPABILITIES, self.capabilities.as_bytes()),
            (meta::LOG_LEVEL, level.as_bytes()),
        ];
        if let Some(info) = &self.client_info {
            set.push((meta::CLIENT_INFO, info.as_bytes()));
        }
        let meta = meta.with(&set, &[]);
        params.with(&[("_meta", meta.as_bytes())], &[])
    }

    /// The params of the session's one `subscriptions/listen`: every list, and the resources subscribed to.
    pub fn listen_params(&self) -> Json {
        let filter = SubscriptionFilter {
            tools_list_changed: true,
            prompts_list_changed: true,
            resources_list_changed: true,
            resource_subscriptions: self.resources.iter().cloned().collect(),
            task_ids: Vec::new(),
        };
        let filter = Json::from_serialize(&filter).unwrap_or_else(|_| Json::empty_object());
        let mut params = ObjectWriter::with_capacity(filter.len() + 256);
        params.member("notifications", filter.as_bytes());
        self.canonical_params(Some(&params.finish()))
    }

    fn set_level(&mut self, level: Option<&str>) -> Result<(), Error> {
        let known = LOG_LEVELS.into_iter().find(|known| Some(*known) == level);
        let Some(known) = known else {
            let text = format!("params.level must be one of {}", LOG_LEVELS.join(", "));
            return Err(Error::new(ErrorKind::InvalidParams, text));
        };
        self.log_level = known;
        Ok(())
    }

    fn subscribe(&mut self, uri: String) -> Result<String, Error> {
        if self.resources.len() >= MAX_SUBSCRIPTIONS && !self.resources.contains(&uri) {
            let text = format!("too many resource subscriptions: the limit is {MAX_SUBSCRIPTIONS}");
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        self.resources.insert(uri.clone());
        Ok(uri)
    }

    /// Takes a subscription back; false when there was none.
    pub fn unsubscribe(&mut self, uri: &str) -> bool {
        self.resources.remove(uri)
    }
}

/// True when the acknowledgement of a listen stream honours this resource
/// (2026-07-28, basic/patterns/subscriptions, "Acknowledgment").
pub fn acknowledges(params: Option<&Json>, uri: &str) -> bool {
    let params = Params::read(params).unwrap_or_default();
    params.notifications.is_some_and(|filter| filter.resource_subscriptions.iter().any(|honoured| honoured == uri))
}

fn read(request: &Request) -> Result<Params<'_>, Error> {
    Params::read(request.params.as_ref()).map_err(|text| Error::new(ErrorKind::InvalidParams, text))
}

fn uri(request: &Request) -> Result<String, Error> {
    let uri = read(request)?.uri.ok_or_else(|| Error::new(ErrorKind::InvalidParams, "params.uri is missing"))?;
    Ok(uri.into_owned())
}

#[cfg(test)]
mod tests;
