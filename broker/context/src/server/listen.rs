//! `subscriptions/listen`: updates of keys and spaces (2026-07-28, basic/patterns/subscriptions).

use async_stream::stream;
use futures::{StreamExt, stream::SelectAll};
use spanwire_mcp::{Json, Method, Notification, Params, SubscriptionFilter, string_literal};
use spanwire_model::{Error, ErrorKind, Event as CallEvent, Reply};
use tokio_util::sync::CancellationToken;

use super::uri::{self, Named};
use crate::{Event, OnBehalf};

/// Resources that one stream tells of; further ones are left out of what is acknowledged.
const MAX_RESOURCES: usize = 1024;

/// Tells of each change of the resources of the filter, until the reply is dropped, the server closed, or events are lost.
pub(super) fn listen(behalf: OnBehalf, params: &Json, stop: CancellationToken) -> Reply {
    let filter = match Params::read(Some(params)) {
        Ok(params) => params.notifications.unwrap_or_default(),
        Err(text) => return Reply::ready(Err(Error::new(ErrorKind::InvalidParams, text))),
    };
    let mut honoured = Vec::new();
    let mut watches = SelectAll::new();
    for uri in filter.resource_subscriptions {
        let Ok(named) = uri::parse(&uri) else { continue };
        if honoured.len() >= MAX_RESOURCES {
            break;
        }
        let (space, key) = match named {
            Named::Space(space) => (space, None),
            Named::Key(space, key) => (space, Some(key)),
        };
        let prefix = key.as_ref().map_or("", |key| key.as_str());
        // From now on, whenever the reply is first polled.
        let watch = behalf.watch(&space, prefix, None, false);
        let about = uri.clone();
        let told = watch.filter_map(move |event| {
            let told = match event {
                Ok(event) => concerns(&event, key.as_ref()).then(|| Ok(updated(&about))),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(told)
        });
        watches.push(told.boxed());
        honoured.push(uri);
    }
    let filter = SubscriptionFilter { resource_subscriptions: honoured, ..SubscriptionFilter::default() };
    Reply::new(stream! {
        yield CallEvent::Notification(acknowledged(&filter));
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    yield CallEvent::Done(Err(Error::new(ErrorKind::StreamLost, "the shared context was closed")));
                    return;
                }
                told = watches.next(), if !watches.is_empty() => match told {
                    Some(Ok(notification)) => yield CallEvent::Notification(notification),
                    // Whoever listens comes again, and reads what it missed.
                    Some(Err(error)) => {
                        let error = Error::new(ErrorKind::StreamLost, error.public);
                        yield CallEvent::Done(Err(error));
                        return;
                    }
                    None => {}
                },
            }
        }
    })
}

/// A key's watch has a prefix, which other keys may begin with.
fn concerns(event: &Event, key: Option<&crate::Key>) -> bool {
    match (key, &event.key) {
        (None, _) | (Some(_), None) => true,
        (Some(wanted), Some(key)) => wanted == key,
    }
}

fn updated(uri: &str) -> Notification {
    let params = Json::from_trusted(format!("{{\"uri\":{}}}", string_literal(uri)));
    Notification { method: Method::ResourceUpdated, params: Some(params) }
}

fn acknowledged(filter: &SubscriptionFilter) -> Notification {
    let filter = serde_json::to_string(filter).unwrap_or_else(|_| "{}".to_owned());
    let params = Json::from_trusted(format!("{{\"notifications\":{filter}}}"));
    Notification { method: Method::SubscriptionAcknowledged, params: Some(params) }
}
