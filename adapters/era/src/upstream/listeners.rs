//! `subscriptions/listen` for a server that has only `resources/subscribe`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use spanwire_mcp::{Json, Method, Notification, SubscriptionFilter, string_literal};
use spanwire_model::{Event, Reply, ServerFacts};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    calls::Calls,
    line::Line,
    tasks::{told_of, watchable},
};

/// Resources that one listener may watch; further ones are left out of the honoured filter.
const MAX_RESOURCES: usize = 1024;
/// How long the server may take to subscribe to one resource.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(30);
/// How long a listener waits for that before it is told that it listens.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(5);

/// The listeners of one connection, and what the server is subscribed to for them.
///
/// What listeners want is counted here; one task makes the server agree with it. So a listener can leave in `drop`.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    calls: Arc<Calls>,
    state: Mutex<State>,
    wake: Notify,
    /// Told whenever the server has answered.
    answered: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    filters: HashMap<i64, SubscriptionFilter>,
    resources: BTreeMap<String, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    listeners: usize,
    on_server: bool,
    /// The server has answered to what `on_server` says.
    answered: bool,
}

/// Leaves when the reply is dropped.
struct Leave {
    listeners: Arc<Listeners>,
    id: i64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.listeners.leave(self.id);
    }
}

impl Listeners {
    /// Listens. The acknowledgement comes when the server has subscribed; what follows is what the server says until the reply is dropped.
    pub(super) fn listen(self: &Arc<Self>, id: i64, wanted: SubscriptionFilter, facts: &ServerFacts) -> Reply {
        let listeners = self.clone();
        let filter = honoured(wanted, facts);
        Reply::new(async_stream::stream! {
            let mut inbox = match listeners.calls.open(id, &Method::Listen) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            let acknowledged = acknowledgement(&filter);
            listeners.enter(id, filter);
            let _leave = Leave { listeners: listeners.clone(), id };
            listeners.subscribed(id).await;
            yield Event::Notification(acknowledged);
            loop {
                let event = inbox.next().await;
                let last = matches!(event, Event::Done(_));
                yield event;
                if last {
                    return;
                }
            }
        })
    }

    /// Waits until the server has answered for each resource of a listener, or took too long.
    async fn subscribed(&self, id: i64) {
        let mut answered = self.answered.subscribe();
        let done = async {
            while !self.is_answered(id) {
                if answered.changed().await.is_err() {
                    return;
                }
            }
        };
        // A server that takes longer may still tell, later.
        let _ = tokio::time::timeout(ACKNOWLEDGE_WITHIN, done).await;
    }

    fn is_answered(&self, id: i64) -> bool {
        let state = self.lock();
        let Some(filter) = state.filters.get(&id) else { return true };
        filter.resource_subscriptions.iter().all(|uri| state.resources.get(uri).is_none_or(|watched| watched.answered))
    }

    /// Hands a notification of the server to the listeners that want it.
    pub(super) fn fan_out(&self, notification: &Notification) {
        let uri = match notification.method {
            Method::ResourceUpdated => {
                notification.params.as_ref().and_then(|params| params.get("uri")?.read::<String>().ok())
            }
            _ => None,
        };
        let task = told_of(notification).filter(|_| notification.method == Method::LegacyTaskStatus);
        let to: Vec<i64> = {
            let state = self.lock();
            let wants = |filter: &SubscriptionFilter| match &notification.method {
                Method::ToolsListChanged => filter.tools_list_changed,
                Method::PromptsListChanged => filter.prompts_list_changed,
                Method::ResourcesListChanged => filter.resources_list_changed,
                Method::ResourceUpdated => uri.as_deref().is_some_and(|uri| covers(filter, uri)),
                Method::LegacyTaskStatus => task.as_ref().is_some_and(|task| filter.task_ids.contains(task)),
                _ => false,
            };
            state.filters.iter().filter(|(_, filter)| wants(filter)).map(|(id, _)| *id).collect()
        };
        for id in to {
            self.calls.push(id, notification.clone());
        }
    }

    /// The server has forgotten everything: a new session.
    pub(super) fn forgotten(&self) {
        for watched in self.lock().resources.values_mut() {
            watched.on_server = false;
            watched.answered = false;
        }
        self.wake.notify_one();
    }

    /// Ends every listener.
    pub(super) fn close(&self, reason: &Arc<str>) {
        self.calls.close(reason);
    }

    /// Makes the server agree with what is wanted, until stopped.
    pub(super) async fn run(&self, line: Arc<Line>, stop: CancellationToken) {
        loop {
            let settled = self.settle(&line);
            tokio::select! {
                () = settled => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn settle(&self, line: &Line) {
        while let Some((uri, subscribe)) = self.next_difference() {
            let method = if subscribe { Method::ResourcesSubscribe } else { Method::ResourcesUnsubscribe };
            let params = Json::from_trusted(format!("{{\"uri\":{}}}", string_literal(&uri)));
            match tokio::time::timeout(SUBSCRIBE_WITHIN, line.ask(method.clone(), params)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(server = %line.server, %method, %error, "subscription failed"),
                Err(_) => tracing::warn!(server = %line.server, %method, "subscription timed out"),
            }
            if let Some(watched) = self.lock().resources.get_mut(&uri).filter(|watched| watched.on_server) {
                watched.answered = true;
            }
            self.answered.send_replace(());
        }
    }

    /// One resource for which the server does not do what is wanted; from now on it counts as done, also if the server
    /// refuses, so that it is not asked for ever.
    fn next_difference(&self) -> Option<(String, bool)> {
        let mut state = self.lock();
        let different = |watched: &Watched| (watched.listeners > 0) != watched.on_server;
        let (uri, watched) = state.resources.iter_mut().find(|(_, watched)| different(watched))?;
        let (uri, subscribe) = (uri.clone(), watched.listeners > 0);
        watched.on_server = subscribe;
        if !subscribe {
            state.resources.remove(&uri);
        }
        Some((uri, subscribe))
    }

    fn enter(&self, id: i64, filter: SubscriptionFilter) {
        let mut state = self.lock();
        for uri in &filter.resource_subscriptions {
            state.resources.entry(uri.clone()).or_default().listeners += 1;
        }
        state.filters.insert(id, filter);
        drop(state);
        self.wake.notify_one();
    }

    fn leave(&self, id: i64) {
        let mut state = self.lock();
        let Some(filter) = state.filters.remove(&id) else { return };
        for uri in &filter.resource_subscriptions {
            if let Some(watched) = state.resources.get_mut(uri) {
                watched.listeners = watched.listeners.saturating_sub(1);
                if watched.listeners == 0 && !watched.on_server {
                    state.resources.remove(uri);
                }
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a filter the server can do.
fn honoured(wanted: SubscriptionFilter, facts: &ServerFacts) -> SubscriptionFilter {
    let offers = |capability: &str, flag: &str| {
        facts.capabilities.get(capability).and_then(|one| one.get(flag)).is_some_and(|flag| flag.as_str() == "true")
    };
    let mut resource_subscriptions = wanted.resource_subscriptions;
    if !offers("resources", "subscribe") {
        resource_subscriptions.clear();
    }
    resource_subscriptions.sort();
    resource_subscriptions.dedup();
    resource_subscriptions.truncate(MAX_RESOURCES);
    SubscriptionFilter {
        tools_list_changed: wanted.tools_list_changed && offers("tools", "listChanged"),
        prompts_list_changed: wanted.prompts_list_changed && offers("prompts", "listChanged"),
        resources_list_changed: wanted.resources_list_changed && offers("resources", "listChanged"),
        resource_subscriptions,
        task_ids: watchable(wanted.task_ids, facts),
    }
}

fn acknowledgement(filter: &SubscriptionFilter) -> Notification {
    let filter = Json::from_serialize(filter).unwrap_or_else(|_| Json::empty_object());
    let params = Json::empty_object().with(&[("notifications", filter.as_bytes())], &[]);
    Notification { method: Method::SubscriptionAcknowledged, params: Some(params) }
}

/// A legacy server may report a part of what was subscribed to (2025-11-25, server/resources, "Subscriptions").
fn covers(filter: &SubscriptionFilter, uri: &str) -> bool {
    filter.resource_subscriptions.iter().any(|subscribed| {
        uri.strip_prefix(subscribed.as_str())
            .is_some_and(|rest| rest.is_empty() || subscribed.ends_with('/') || rest.starts_with(['/', '?', '#']))
    })
}
