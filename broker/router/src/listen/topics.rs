//! What has a stream of its own at its server: each resource and each task that one client listens to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_stream::stream;
use futures::{StreamExt, stream::SelectAll};
use spanwire_catalog::{expose_uris, resource_uri_of};
use spanwire_mcp::{Method, Notification, Params, SubscriptionFilter};
use spanwire_model::{Call, Event, Place, Retry};
use tokio::time::Instant;

use super::{subscription, task};
use crate::{
    Inner,
    forward::{self, Forward},
};

/// Longest that a client waits for the servers of its topics to begin; those that take longer are not waited for.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// Updates kept until the client has been told that the stream began.
const MAX_EARLY: usize = 1024;

/// What has a stream of its own at its server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// A resource, by the URI that the client knows.
    Resource(String),
    /// A task, by the id that the client knows.
    Task(String),
}

/// What the stream of a topic said.
pub(super) enum Heard {
    Begun,
    Updated(Notification),
    Ended {
        topic: Topic,
        again: bool,
    },
    /// Nothing more is to be said of it: the task is over.
    Over(Topic),
    /// The server does not tell of it.
    Refused(Topic),
}

/// The streams of the resources and tasks that are subscribed to, one each, so that each is permitted on its own.
#[derive(Default)]
pub(super) struct Topics {
    /// By topic, with the catalog's version at the time.
    pub(super) open: HashMap<Topic, u64>,
    /// Tasks of which nothing more is to be heard.
    over: HashSet<String>,
    /// Those of them that their server does not tell of.
    pub(super) refused: HashSet<String>,
    pub(super) streams: SelectAll<futures::stream::BoxStream<'static, Heard>>,
}

impl Topics {
    pub(super) fn open(&mut self, inner: &Arc<Inner>, call: &Call, filter: &SubscriptionFilter) {
        let version = inner.catalog.load().version;
        let resources = filter.resource_subscriptions.iter().cloned().map(Topic::Resource);
        let tasks = filter.task_ids.iter().filter(|id| !self.over.contains(*id)).cloned().map(Topic::Task);
        for topic in resources.chain(tasks).collect::<Vec<Topic>>() {
            if self.open.contains_key(&topic) {
                continue;
            }
            let forward = match &topic {
                Topic::Resource(uri) => subscription(inner, call, uri),
                Topic::Task(id) => task(inner, call, id),
            };
            let Ok(forward) = forward else { continue };
            if forward.permitted.route().place == Place::Nowhere {
                continue;
            }
            self.open.insert(topic.clone(), version);
            self.streams.push(told(inner, forward, topic).boxed());
        }
    }

    /// How many streams there should be.
    pub(super) fn wanted(&self, filter: &SubscriptionFilter) -> usize {
        let tasks = filter.task_ids.iter().filter(|id| !self.over.contains(*id)).count();
        filter.resource_subscriptions.len() + tasks
    }

    pub(super) fn over(&mut self, topic: Topic) {
        self.open.remove(&topic);
        if let Topic::Task(id) = topic {
            self.over.insert(id);
        }
    }

    /// Waits until every stream has begun or ended; what was heard meanwhile.
    pub(super) async fn begun(&mut self) -> Vec<Notification> {
        let mut missing = self.open.len();
        let mut early: Vec<Notification> = Vec::new();
        let deadline = Instant::now() + BEGIN_WITHIN;
        while missing > 0 {
            match tokio::time::timeout_at(deadline, self.streams.next()).await {
                Ok(Some(Heard::Begun)) => missing -= 1,
                Ok(Some(Heard::Ended { topic, .. })) => {
                    self.open.remove(&topic);
                    missing -= 1;
                }
                Ok(Some(Heard::Over(topic))) => self.over(topic),
                Ok(Some(Heard::Refused(topic))) => {
                    if let Topic::Task(id) = &topic {
                        self.refused.insert(id.clone());
                    }
                    self.over(topic);
                    missing -= 1;
                }
                // The same resource twice says no more than once.
                Ok(Some(Heard::Updated(notification))) if early.contains(&notification) => {}
                Ok(Some(Heard::Updated(notification))) if early.len() < MAX_EARLY => early.push(notification),
                Ok(Some(Heard::Updated(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        early
    }
}

/// What the server says of one topic, to its end.
fn told(inner: &Arc<Inner>, forward: Forward, topic: Topic) -> impl futures::Stream<Item = Heard> + Send + 'static {
    let (server, rewrite) = (forward.permitted.route().server.clone(), forward.rewrite_uris);
    let mut reply = forward::forward(inner, forward);
    stream! {
        let mut again = true;
        while let Some(event) = reply.next().await {
            match event {
                Event::Notification(notification) => {
                    if notification.method == Method::SubscriptionAcknowledged {
                        if !honours(&notification, &topic) {
                            yield Heard::Refused(topic);
                            return;
                        }
                        yield Heard::Begun;
                        continue;
                    }
                    let Some(notification) = update(notification, &topic) else { continue };
                    let over = is_over(&notification);
                    let params = match notification.params {
                        Some(params) if rewrite => Some(expose_uris(&notification.method, &server, &params)),
                        params => params,
                    };
                    yield Heard::Updated(Notification { method: notification.method, params });
                    if over {
                        yield Heard::Over(topic);
                        return;
                    }
                }
                Event::Progress(_) => {}
                Event::Done(outcome) => {
                    if let Err(error) = outcome {
                        again = error.retry() != Retry::Never;
                        tracing::debug!(%server, ?topic, "subscription ended: {error}");
                    }
                }
            }
        }
        yield Heard::Ended { topic, again };
    }
}

/// A notification that tells of the topic, without what belongs to its own stream only.
fn update(notification: Notification, topic: &Topic) -> Option<Notification> {
    let params = notification.params.as_ref()?;
    let (told, own) = match topic {
        Topic::Resource(_) => (resource_uri_of(params).is_some(), Method::ResourceUpdated),
        Topic::Task(id) => (is_about(&notification, id), Method::TaskStatus),
    };
    if !told || notification.method != own {
        return None;
    }
    let params = match topic {
        Topic::Resource(_) => params.with(&[], &["_meta"]),
        Topic::Task(_) => params.clone(),
    };
    Some(Notification { params: Some(params), ..notification })
}

/// True when the server's acknowledgement has the topic; a resource's is taken at the server's word of its capabilities.
fn honours(acknowledged: &Notification, topic: &Topic) -> bool {
    match topic {
        Topic::Resource(_) => true,
        Topic::Task(_) => {
            let params = Params::read(acknowledged.params.as_ref()).unwrap_or_default();
            params.notifications.is_some_and(|honoured| !honoured.task_ids.is_empty())
        }
    }
}

/// True for the state of this task.
fn is_about(notification: &Notification, id: &str) -> bool {
    let about = notification.params.as_ref().and_then(|params| params.get("taskId")?.read::<String>().ok());
    notification.method == Method::TaskStatus && about.as_deref() == Some(id)
}

/// True for the last state of a task.
fn is_over(notification: &Notification) -> bool {
    let status = notification.params.as_ref().and_then(|params| params.get("status")?.read::<String>().ok());
    notification.method == Method::TaskStatus && matches!(status.as_deref(), Some("completed" | "failed" | "cancelled"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use spanwire_mcp::Json;

    use super::*;

    fn told(method: Method, params: &str) -> Notification {
        Notification { method, params: Some(Json::from_trusted(params.to_owned())) }
    }

    #[test]
    fn only_what_is_about_the_topic_passes() {
        let task = Topic::Task("t".to_owned());
        let state = told(Method::TaskStatus, r#"{"taskId":"t","status":"completed","_meta":{"k":1}}"#);
        assert_eq!(update(state.clone(), &task), Some(state.clone()));
        assert!(is_over(&state));
        assert!(!is_over(&told(Method::TaskStatus, r#"{"taskId":"t","status":"input_required"}"#)));
        assert_eq!(update(told(Method::TaskStatus, r#"{"taskId":"u","status":"working"}"#), &task), None);
        assert_eq!(update(told(Method::ResourceUpdated, r#"{"taskId":"t","uri":"a:1"}"#), &task), None);
        let resource = Topic::Resource("fs+a:1".to_owned());
        let updated = update(told(Method::ResourceUpdated, r#"{"uri":"a:1","_meta":{"k":1}}"#), &resource).unwrap();
        assert_eq!(updated.params.unwrap().as_str(), r#"{"uri":"a:1"}"#);
        assert_eq!(update(state, &resource), None);
    }

    #[test]
    fn an_acknowledgement_without_tasks_refuses_them() {
        let check = |filter: &str, expected: bool| {
            let params = format!(r#"{{"notifications":{filter}}}"#);
            let told = told(Method::SubscriptionAcknowledged, &params);
            assert_eq!(honours(&told, &Topic::Task("t".to_owned())), expected, "{filter}");
            assert!(honours(&told, &Topic::Resource("a:1".to_owned())));
        };
        check(r#"{"taskIds":["own"]}"#, true);
        check(r#"{"toolsListChanged":true}"#, false);
    }
}
