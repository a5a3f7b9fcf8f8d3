//! A legacy server: sessions, levels and subscriptions are kept here, so that nobody above knows of them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use spanwire_mcp::{Json, Method, ObjectWriter, Params, Revision, SubscriptionFilter, meta, string_literal};
use spanwire_model::{Error, ErrorKind, Reply, ServerFacts, Upstream, UpstreamCall};
use tokio_util::sync::DropGuard;

use super::{
    incoming::rank,
    interactive::{Session, Wishes},
    listeners::Listeners,
    tasks::{Tasks, watchable},
};

/// A legacy server.
pub(super) struct Legacy {
    pub session: Session,
    pub facts: ServerFacts,
    pub listeners: Arc<Listeners>,
    pub tasks: Arc<Tasks>,
    pub _stop: DropGuard,
}

#[async_trait]
impl Upstream for Legacy {
    fn call(&self, call: UpstreamCall) -> Reply {
        let (filter, wishes) = match self.wishes(&call) {
            Ok(wishes) => wishes,
            Err(error) => return Reply::ready(Err(error)),
        };
        match call.method {
            Method::Discover => Reply::ready(Ok(discover_result(&self.facts))),
            Method::Listen => {
                let tasks = watchable(filter.task_ids.clone(), &self.facts);
                let reply = self.listeners.listen(self.session.line.next_id(), filter, &self.facts);
                self.tasks.watch(reply, &call, tasks)
            }
            _ if self.tasks.are_offered() => self.with_tasks(call, wishes),
            _ => self.session.clone().send(call, wishes),
        }
    }

    async fn close(&self) {
        self.session.line.wire.close().await;
    }
}

impl Legacy {
    fn wishes(&self, call: &UpstreamCall) -> Result<(SubscriptionFilter, Wishes), Error> {
        let params = Params::read_for(&call.method, Some(&call.params))
            .map_err(|text| Error::new(ErrorKind::InvalidParams, text))?;
        let log_level = params.meta.log_level.map(String::from);
        if let Some(level) = log_level.as_deref().filter(|level| rank(level).is_none()) {
            let text = format!("{} \"{level}\" is no log level", meta::LOG_LEVEL);
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        let responses = params.input_responses;
        let wishes = Wishes {
            log_level: log_level.filter(|_| self.facts.has("logging")),
            request_state: params.request_state.map(String::from),
            input_responses: responses.map(|raw| Json::from_trusted(Bytes::copy_from_slice(raw.get().as_bytes()))),
        };
        Ok((params.notifications.unwrap_or_default(), wishes))
    }

    /// The same for a server whose calls may be tasks.
    fn with_tasks(&self, call: UpstreamCall, wishes: Wishes) -> Reply {
        let send = |call, wishes| self.session.clone().send(call, wishes);
        match call.method {
            Method::ToolsList => self.tasks.listing(send(call, wishes)),
            Method::ToolsCall => match self.tasks.prepare(call) {
                Ok((call, true)) => Tasks::created(send(call, wishes)),
                Ok((call, false)) => send(call, wishes),
                Err(error) => Reply::ready(Err(error)),
            },
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => self.tasks.answer(call),
            _ => send(call, wishes),
        }
    }
}

/// `server/discover`, answered from what the server said in `initialize`.
fn discover_result(facts: &ServerFacts) -> Json {
    let mut server = ObjectWriter::with_capacity(facts.info.len() + 64);
    server.member(meta::SERVER_INFO, facts.info.as_bytes());
    let mut result = ObjectWriter::with_capacity(256 + facts.info.len() + facts.capabilities.len());
    result.member("resultType", b"\"complete\"");
    result.member("supportedVersions", format!("[\"{}\"]", Revision::CANONICAL).as_bytes());
    result.member("capabilities", facts.capabilities.as_bytes());
    if let Some(instructions) = &facts.instructions {
        result.member("instructions", string_literal(instructions).as_bytes());
    }
    result.member("ttlMs", b"0");
    result.member("cacheScope", b"\"private\"");
    result.member("_meta", server.finish().as_bytes());
    result.finish()
}
