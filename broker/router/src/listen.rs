//! `subscriptions/listen`: one long stream of what changes in a view (2026-07-28, basic/patterns/subscriptions).

mod topics;

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use futures::StreamExt;
use spanwire_mcp::{Json, Method, Notification, SubscriptionFilter, string_literal, tasks};
use spanwire_model::{Call, Error, ErrorKind, Event, ListKind, Reply, Result, ServerFacts};
use tokio::time::Instant;

use self::topics::{Heard, Topics};
use crate::{
    Inner,
    forward::{Elsewhere, Forward},
    plan,
};

/// A client that wants to hear of changes.
pub(crate) struct Listen {
    pub(crate) call: Call,
    pub(crate) filter: SubscriptionFilter,
}

/// A listen stream has no budget: it lives as long as its client.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Pause before a topic's stream that broke off without a change of the catalog is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Which notification tells of which lists.
const LISTS: [(Method, &[ListKind]); 3] = [
    (Method::ToolsListChanged, &[ListKind::Tools]),
    (Method::PromptsListChanged, &[ListKind::Prompts]),
    (Method::ResourcesListChanged, &[ListKind::Resources, ListKind::Templates]),
];

/// Opens the stream. It ends when the client goes away, or gracefully when this node stops.
pub(crate) fn listen(inner: &Arc<Inner>, listen: Listen) -> Reply {
    let Listen { call, mut filter } = listen;
    if !filter.task_ids.is_empty() && !tasks::is_declared_by(&call.params) {
        return Reply::ready(Err(undeclared("a subscription to tasks")));
    }
    let wanted = filter.resource_subscriptions.len() + filter.task_ids.len();
    if wanted > inner.config.max_subscriptions {
        let text = format!(
            "{wanted} subscriptions to resources and tasks, the limit of one stream is {}",
            inner.config.max_subscriptions
        );
        return Reply::ready(Err(Error::new(ErrorKind::InvalidParams, text)));
    }
    let inner = inner.clone();
    let call = Call { deadline: Instant::now() + FOR_EVER, ..call };
    Reply::new(stream! {
        // Subscribed before the first look, so that no change falls between.
        let mut snapshots = inner.snapshots.subscribe();
        let mut prints = fingerprints(&inner, &call);
        filter.resource_subscriptions.retain(|uri| subscription(&inner, &call, uri).is_ok());
        filter.task_ids.retain(|id| task(&inner, &call, id).is_ok());
        let mut topics = Topics::default();
        topics.open(&inner, &call, &filter);
        // What changes from here on is heard: the servers listen before the client is told so.
        let early = topics.begun().await;
        filter.task_ids.retain(|id| !topics.refused.contains(id));
        yield Event::Notification(acknowledged(&filter));
        for notification in early {
            yield Event::Notification(notification);
        }
        // A stream that ended meanwhile is opened again.
        let mut retry = (topics.open.len() < topics.wanted(&filter)).then(|| Instant::now() + OPEN_AGAIN);
        loop {
            tokio::select! {
                () = inner.shutdown.cancelled() => {
                    yield Event::Done(Ok(Json::from_trusted(&b"{\"resultType\":\"complete\"}"[..])));
                    return;
                }
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = fingerprints(&inner, &call);
                    for (index, (method, _)) in LISTS.iter().enumerate() {
                        if now[index] != prints[index] && wants(&filter, method) {
                            yield Event::Notification(Notification { method: method.clone(), params: None });
                        }
                    }
                    prints = now;
                    topics.open(&inner, &call, &filter);
                }
                () = sleep_until(retry) => {
                    retry = None;
                    topics.open(&inner, &call, &filter);
                }
                Some(heard) = topics.streams.next(), if !topics.streams.is_empty() => match heard {
                    Heard::Begun => {}
                    Heard::Updated(notification) => yield Event::Notification(notification),
                    // Its server went away, mostly; it is opened again when the catalog says that the server is back.
                    Heard::Ended { topic, again } => {
                        let opened = topics.open.remove(&topic);
                        if opened.is_some_and(|version| version < inner.catalog.load().version) {
                            // The catalog spoke of it before the stream's end was heard.
                            topics.open(&inner, &call, &filter);
                        } else if again {
                            retry.get_or_insert_with(|| Instant::now() + OPEN_AGAIN);
                        }
                    }
                    Heard::Over(topic) | Heard::Refused(topic) => topics.over(topic),
                },
            }
        }
    })
}

/// The error for a client that names tasks and has not declared the extension (ext-tasks, "Capability Negotiation").
pub(crate) fn undeclared(what: &str) -> Error {
    let text = format!("{what} needs the client capability extensions[\"{}\"]", tasks::EXTENSION);
    Error::new(ErrorKind::MissingCapability, text).with_data(Json::from_trusted(tasks::MISSING_DATA))
}

/// The call that subscribes to one task, permitted.
fn task(inner: &Inner, call: &Call, id: &str) -> Result<Forward> {
    let filter = format!("{{\"taskIds\":[{}]}}", string_literal(id));
    let params = call.params.with(&[("notifications", filter.as_bytes())], &[]);
    plan::resolve_task(inner, Call { params, ..call.clone() }, id)
}

/// The call that subscribes to one resource, permitted.
fn subscription(inner: &Inner, call: &Call, uri: &str) -> Result<Forward> {
    let snapshot = inner.catalog.load();
    let view = snapshot.view(call.view.as_deref());
    let unknown = || Inner::unknown("resource", uri, None);
    let view = view.ok_or_else(unknown)?;
    let route = view.resolve_uri(uri).ok_or_else(unknown)?;
    let own = route.own_name().cloned().ok_or_else(unknown)?;
    // A server that was never connected may turn out to be able.
    let facts = view.facts().find(|(server, _)| **server == route.server);
    if facts.is_some_and(|(_, facts)| !has_subscriptions(facts)) {
        return Err(unknown());
    }
    let filter = format!("{{\"resourceSubscriptions\":[{}]}}", string_literal(&own));
    let params = call.params.with(&[("notifications", filter.as_bytes())], &[]);
    let call = Call { params, ..call.clone() };
    let permitted = inner.policy.load().authorize(call, route).map_err(|_| unknown())?;
    Ok(Forward {
        permitted,
        exposed: None,
        rewrite_uris: view.rewrites_uris(),
        back: None,
        elsewhere: Elsewhere::default(),
    })
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether the server announced that resources can be subscribed to (2026-07-28, server/resources, "Capabilities").
fn has_subscriptions(facts: &ServerFacts) -> bool {
    let subscribe = facts.capabilities.get("resources").and_then(|resources| resources.get("subscribe"));
    subscribe.is_some_and(|subscribe| subscribe.as_str() == "true")
}

fn fingerprints(inner: &Inner, call: &Call) -> [u64; 3] {
    let (snapshot, policy) = (inner.catalog.load(), inner.policy.load());
    let Some(view) = snapshot.view(call.view.as_deref()) else { return [0; 3] };
    LISTS.map(|(_, kinds)| {
        kinds.iter().fold(0_u64, |print, kind| {
            let section =
                view.section(*kind).fingerprint(|entry| policy.allows(&call.principal, *kind, &entry.canonical));
            print.rotate_left(1) ^ section
        })
    })
}

fn wants(filter: &SubscriptionFilter, method: &Method) -> bool {
    match method {
        Method::ToolsListChanged => filter.tools_list_changed,
        Method::PromptsListChanged => filter.prompts_list_changed,
        Method::ResourcesListChanged => filter.resources_list_changed,
        _ => false,
    }
}

fn acknowledged(filter: &SubscriptionFilter) -> Notification {
    let filter = serde_json::to_string(filter).unwrap_or_else(|_| "{}".to_owned());
    let params = Json::from_trusted(format!("{{\"notifications\":{filter}}}"));
    Notification { method: Method::SubscriptionAcknowledged, params: Some(params) }
}
