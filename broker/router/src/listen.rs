//! `subscriptions/listen`: one long stream of what changes in a view (2026-07-28, basic/patterns/subscriptions).

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_stream::stream;
use futures::{StreamExt, stream::SelectAll};
use spanwire_catalog::{expose_uris, resource_uri_of};
use spanwire_mcp::{Json, Method, Notification, SubscriptionFilter, string_literal};
use spanwire_model::{Call, Error, ErrorKind, Event, ListKind, Place, Reply, Result, Retry, ServerFacts};
use tokio::time::Instant;

use crate::{
    Inner,
    forward::{self, Elsewhere, Forward},
};

/// A client that wants to hear of changes.
pub(crate) struct Listen {
    pub(crate) call: Call,
    pub(crate) filter: SubscriptionFilter,
}

/// A listen stream has no budget: it lives as long as its client.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Pause before a resource's stream that broke off without a change of the catalog is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Which notification tells of which lists.
const LISTS: [(Method, &[ListKind]); 3] = [
    (Method::ToolsListChanged, &[ListKind::Tools]),
    (Method::PromptsListChanged, &[ListKind::Prompts]),
    (Method::ResourcesListChanged, &[ListKind::Resources, ListKind::Templates]),
];

/// Longest that a client waits for the servers of its resources to begin; those that take longer are not waited for.
const BEGIN_WITHIN: Duration = Duration::from_secs(5);

/// Updates kept until the client has been told that the stream began.
const MAX_EARLY: usize = 1024;

/// What a resource's own stream said.
enum Heard {
    Begun,
    Updated(Notification),
    Ended { uri: String, again: bool },
}

/// Opens the stream. It ends when the client goes away, or gracefully when this node stops.
pub(crate) fn listen(inner: &Arc<Inner>, listen: Listen) -> Reply {
    let Listen { call, mut filter } = listen;
    let wanted = filter.resource_subscriptions.len();
    if wanted > inner.config.max_subscriptions {
        let text =
            format!("{wanted} resource subscriptions, the limit of one stream is {}", inner.config.max_subscriptions);
        return Reply::ready(Err(Error::new(ErrorKind::InvalidParams, text)));
    }
    let inner = inner.clone();
    let call = Call { deadline: Instant::now() + FOR_EVER, ..call };
    Reply::new(stream! {
        // Subscribed before the first look, so that no change falls between.
        let mut snapshots = inner.snapshots.subscribe();
        let mut prints = fingerprints(&inner, &call);
        filter.resource_subscriptions.retain(|uri| subscription(&inner, &call, uri).is_ok());
        let mut resources = Resources::default();
        resources.open(&inner, &call, &filter);
        // What changes from here on is heard: the servers listen before the client is told so.
        let early = resources.begun().await;
        yield Event::Notification(acknowledged(&filter));
        for notification in early {
            yield Event::Notification(notification);
        }
        // A stream that ended meanwhile is opened again.
        let mut retry = (resources.open.len() < filter.resource_subscriptions.len()).then(|| Instant::now() + OPEN_AGAIN);
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
                    resources.open(&inner, &call, &filter);
                }
                () = sleep_until(retry) => {
                    retry = None;
                    resources.open(&inner, &call, &filter);
                }
                Some(heard) = resources.streams.next(), if !resources.streams.is_empty() => match heard {
                    Heard::Begun => {}
                    Heard::Updated(notification) => yield Event::Notification(notification),
                    // Its server went away, mostly; it is opened again when the catalog says that the server is back.
                    Heard::Ended { uri, again } => {
                        let opened = resources.open.remove(&uri);
                        if opened.is_some_and(|version| version < inner.catalog.load().version) {
                            // The catalog spoke of it before the stream's end was heard.
                            resources.open(&inner, &call, &filter);
                        } else if again {
                            retry.get_or_insert_with(|| Instant::now() + OPEN_AGAIN);
                        }
                    }
                },
            }
        }
    })
}

/// The streams of the resources that are subscribed to, one each, so that each is permitted on its own.
#[derive(Default)]
struct Resources {
    /// By URI, with the catalog's version at the time.
    open: HashMap<String, u64>,
    streams: SelectAll<futures::stream::BoxStream<'static, Heard>>,
}

impl Resources {
    fn open(&mut self, inner: &Arc<Inner>, call: &Call, filter: &SubscriptionFilter) {
        let version = inner.catalog.load().version;
        for uri in &filter.resource_subscriptions {
            if self.open.contains_key(uri) {
                continue;
            }
            let Ok(forward) = subscription(inner, call, uri) else { continue };
            let route = forward.permitted.route();
            if route.place == Place::Nowhere {
                continue;
            }
            self.open.insert(uri.clone(), version);
            let (server, rewrite, uri) = (route.server.clone(), forward.rewrite_uris, uri.clone());
            let mut reply = forward::forward(inner, forward);
            self.streams.push(
                stream! {
                    let mut again = true;
                    while let Some(event) = reply.next().await {
                        match event {
                            Event::Notification(Notification { method: Method::ResourceUpdated, params: Some(params) }) => {
                                let params = if rewrite { expose_uris(&Method::ResourceUpdated, &server, &params) } else { params };
                                let params = params.with(&[], &["_meta"]);
                                if resource_uri_of(&params).is_some() {
                                    yield Heard::Updated(Notification { method: Method::ResourceUpdated, params: Some(params) });
                                }
                            }
                            Event::Notification(Notification { method: Method::SubscriptionAcknowledged, .. }) => yield Heard::Begun,
                            Event::Notification(_) | Event::Progress(_) => {}
                            Event::Done(outcome) => {
                                if let Err(error) = outcome {
                                    again = error.retry() != Retry::Never;
                                    tracing::debug!(%server, uri, "subscription ended: {error}");
                                }
                            }
                        }
                    }
                    yield Heard::Ended { uri, again };
                }
                .boxed(),
            );
        }
    }
}

impl Resources {
    /// Waits until every stream has begun or ended; what was heard meanwhile.
    async fn begun(&mut self) -> Vec<Notification> {
        let mut missing = self.open.len();
        let mut early: Vec<Notification> = Vec::new();
        let deadline = Instant::now() + BEGIN_WITHIN;
        while missing > 0 {
            match tokio::time::timeout_at(deadline, self.streams.next()).await {
                Ok(Some(Heard::Begun)) => missing -= 1,
                Ok(Some(Heard::Ended { uri, .. })) => {
                    self.open.remove(&uri);
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
