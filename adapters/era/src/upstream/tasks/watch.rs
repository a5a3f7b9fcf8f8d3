//! `notifications/tasks` for those who listen to a legacy server's tasks.
//!
//! A legacy server may tell of changes but need not, while a client of the extension that listens need not poll. So each task that is
//! listened to is polled here, at the pace that it asks for; a status notification of the server makes that happen at once.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use spanwire_mcp::{Json, Method, Notification, string_literal, tasks};
use spanwire_model::{ErrorKind, Event, Reply, TraceContext, UpstreamCall};
use tokio::time::Instant;

use super::{Asked, Tasks, told_of};
use crate::tasks::{Status, missing_extension};

/// Pause between two polls of a task that names none.
const POLL: Duration = Duration::from_secs(5);
/// The shortest such pause, whatever the task names.
const POLL_SHORTEST: Duration = Duration::from_millis(250);
/// The longest one.
const POLL_LONGEST: Duration = Duration::from_secs(60);

/// How long the server may take for one poll.
const POLL_WITHIN: Duration = Duration::from_secs(30);

/// A task that is listened to.
struct Watched {
    asked: Asked,
    due: Instant,
    /// What was said of it last.
    said: Option<Json>,
}

impl Tasks {
    /// Adds the states of tasks to a listen stream. `ids` are those of its honoured filter.
    pub(in crate::upstream) fn watch(
        self: &Arc<Self>,
        mut reply: Reply,
        call: &UpstreamCall,
        ids: Vec<String>,
    ) -> Reply {
        if ids.is_empty() {
            return reply;
        }
        if !tasks::is_declared_by(&call.params) {
            return Reply::ready(Err(missing_extension("a subscription to tasks")));
        }
        let tasks = self.clone();
        let mut watched: Vec<Watched> =
            ids.into_iter().map(|id| Watched::new(id, &call.params, call.trace.as_ref())).collect();
        Reply::new(async_stream::stream! {
            // The acknowledgement comes first.
            let mut begun = false;
            loop {
                let next = watched.iter().map(|one| one.due).min().filter(|_| begun);
                tokio::select! {
                    event = reply.next() => match event {
                        Some(Event::Notification(told)) if told.method == Method::LegacyTaskStatus => {
                            let id = told_of(&told);
                            for one in watched.iter_mut().filter(|one| Some(&one.asked.id) == id.as_ref()) {
                                one.due = Instant::now();
                            }
                        }
                        Some(event) => {
                            begun = true;
                            yield event;
                        }
                        None => return,
                    },
                    () = sleep_until(next) => {
                        let now = Instant::now();
                        let Some(index) = watched.iter().position(|one| one.due <= now) else { continue };
                        let (news, over) = watched[index].poll(&tasks).await;
                        if let Some(params) = news {
                            yield Event::Notification(Notification { method: Method::TaskStatus, params: Some(params) });
                        }
                        if over {
                            watched.swap_remove(index);
                        }
                    }
                }
            }
        })
    }
}

impl Watched {
    fn new(id: String, params: &Json, trace: Option<&TraceContext>) -> Self {
        let literal = string_literal(&id);
        let params = params.with(&[("taskId", literal.as_bytes())], &["notifications"]);
        Self { asked: Asked::about(id, &params, trace.cloned()), due: Instant::now(), said: None }
    }

    /// Asks for the task: its state when that is news, and whether it is over.
    async fn poll(&mut self, tasks: &Tasks) -> (Option<Json>, bool) {
        let Ok(outcome) = tokio::time::timeout(POLL_WITHIN, tasks.detail(&self.asked)).await else {
            self.due = Instant::now() + POLL_LONGEST;
            return (None, false);
        };
        let pause = outcome.as_ref().ok().and_then(pause_of).unwrap_or(POLL);
        self.due = Instant::now() + pause.clamp(POLL_SHORTEST, POLL_LONGEST);
        match outcome {
            Ok(detailed) => {
                let over = Status::of(&detailed).is_ok_and(Status::is_terminal);
                let news = self.said.as_ref() != Some(&detailed);
                self.said = Some(detailed.clone());
                (news.then_some(detailed), over)
            }
            Err(error) => {
                tracing::debug!(task = self.asked.id, %error, "a task that is listened to could not be read");
                // The server has answered: it does not know the task, or will not speak of it.
                (None, error.kind == ErrorKind::Server)
            }
        }
    }
}

/// The pause between two polls that a task asks for.
fn pause_of(detailed: &Json) -> Option<Duration> {
    detailed.get("pollIntervalMs")?.read().ok().map(Duration::from_millis)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
