//! A legacy server: sessions, levels and subscriptions are kept here, so that nobody above knows of them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use spanwire_mcp::{Json, Method, ObjectWriter, Params, Revision, meta, string_literal};
use spanwire_model::{Error, ErrorKind, Event, Reply, ServerFacts, Upstream, UpstreamCall};
use tokio_util::sync::DropGuard;

use super::{
    incoming::{complete, is_level, is_wanted, progress},
    line::Line,
    listeners::Listeners,
    modern::caller_token,
    outgoing::Outgoing,
    tasks::{Tasks, watchable},
};

/// The log level that the server was told last.
#[derive(Debug, Default)]
pub(super) struct Level(Mutex<Option<String>>);

impl Level {
    /// Notes the level; `true` when it is another one than before.
    fn change(&self, to: &str) -> bool {
        let mut level = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = level.as_deref() != Some(to);
        if changed {
            *level = Some(to.to_owned());
        }
        changed
    }

    /// The server has forgotten it.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A legacy server.
pub(super) struct Legacy {
    pub line: Arc<Line>,
    pub facts: ServerFacts,
    pub level: Arc<Level>,
    pub listeners: Arc<Listeners>,
    pub tasks: Arc<Tasks>,
    pub _stop: DropGuard,
}

/// What a call's params say that is not for the server.
struct Wishes {
    filter: spanwire_mcp::SubscriptionFilter,
    log_level: Option<String>,
}

#[async_trait]
impl Upstream for Legacy {
    fn call(&self, call: UpstreamCall) -> Reply {
        let wishes = match self.wishes(&call) {
            Ok(wishes) => wishes,
            Err(error) => return Reply::ready(Err(error)),
        };
        match call.method {
            Method::Discover => Reply::ready(Ok(discover_result(&self.facts))),
            Method::Listen => {
                let tasks = watchable(wishes.filter.task_ids.clone(), &self.facts);
                let reply = self.listeners.listen(self.line.next_id(), wishes.filter, &self.facts);
                self.tasks.watch(reply, &call, tasks)
            }
            _ if self.tasks.are_offered() => self.with_tasks(call, wishes.log_level),
            _ => self.send(call, wishes.log_level),
        }
    }

    async fn close(&self) {
        self.line.wire.close().await;
    }
}

impl Legacy {
    fn wishes(&self, call: &UpstreamCall) -> Result<Wishes, Error> {
        let params = Params::read(Some(&call.params)).map_err(|text| Error::new(ErrorKind::InvalidParams, text))?;
        let log_level = params.meta.log_level.map(String::from);
        if let Some(level) = log_level.as_deref().filter(|level| !is_level(level)) {
            let text = format!("{} \"{level}\" is no log level", meta::LOG_LEVEL);
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        let log_level = log_level.filter(|_| self.facts.has("logging"));
        Ok(Wishes { filter: params.notifications.unwrap_or_default(), log_level })
    }

    /// The same for a server whose calls may be tasks.
    fn with_tasks(&self, call: UpstreamCall, log_level: Option<String>) -> Reply {
        match call.method {
            Method::ToolsList => self.tasks.listing(self.send(call, log_level)),
            Method::ToolsCall => match self.tasks.prepare(call) {
                Ok((call, true)) => Tasks::created(self.send(call, log_level)),
                Ok((call, false)) => self.send(call, log_level),
                Err(error) => Reply::ready(Err(error)),
            },
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => self.tasks.answer(call),
            _ => self.send(call, log_level),
        }
    }

    fn send(&self, call: UpstreamCall, log_level: Option<String>) -> Reply {
        let (line, level) = (self.line.clone(), self.level.clone());
        Reply::new(async_stream::stream! {
            if let Some(wanted) = log_level.as_deref().filter(|wanted| level.change(wanted)) {
                let params = Json::from_trusted(format!("{{\"level\":{}}}", string_literal(wanted)));
                if let Err(error) = line.ask(Method::SetLevel, params).await {
                    tracing::warn!(server = %line.server, %error, "the log level could not be set");
                }
            }
            let token = caller_token(&call.params);
            let id = line.next_id();
            let progress_token = token.is_some().then_some(id);
            let out = Outgoing { params: &call.params, progress_token, trace: call.trace.as_ref() };
            let params = out.legacy();
            let method = call.method.clone();
            let mut events = line.send(id, call.method, params, call.trace);
            while let Some(event) = events.next().await {
                match event {
                    Event::Progress(notification) => {
                        if let Some(event) = progress(notification, token.as_ref()) {
                            yield event;
                        }
                    }
                    Event::Notification(log) if log.method == Method::LogMessage => {
                        if is_wanted(&log, log_level.as_deref()) {
                            yield Event::Notification(log);
                        } else {
                            super::pump::log(&line.server, &log);
                        }
                    }
                    Event::Notification(_) => yield event,
                    Event::Done(outcome) => yield Event::Done(outcome.and_then(|result| complete(&method, &result))),
                }
            }
        })
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
