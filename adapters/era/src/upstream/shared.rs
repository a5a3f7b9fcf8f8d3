//! One `subscriptions/listen` to a modern server for everybody who listens to the same resource; it ends with the last of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use futures::StreamExt;
use spanwire_mcp::{Json, SubscriptionFilter};
use spanwire_model::{Error, ErrorKind, Event, Reply, UpstreamCall};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{line::Line, modern::send};

/// Updates that wait for a slow listener; it misses the oldest beyond, and the later ones tell it as much.
const MAX_BEHIND: usize = 256;

/// The streams of one connection, by the resource.
pub(super) struct Shared {
    line: Arc<Line>,
    open: Mutex<HashMap<String, Weak<Stream>>>,
}

/// One stream, held by its listeners. Dropping it cancels it at the server.
struct Stream {
    events: broadcast::Sender<Event>,
    /// What came first: the acknowledgement, or the end.
    begun: watch::Sender<Option<Event>>,
    _stop: DropGuard,
}

/// A listener's ends of a stream.
struct Joined {
    stream: Arc<Stream>,
    events: broadcast::Receiver<Event>,
}

/// The resource of a filter that names one and nothing else.
pub(super) fn single_resource(params: &Json) -> Option<String> {
    let filter: SubscriptionFilter = params.get("notifications")?.read().ok()?;
    let [uri] = &*filter.resource_subscriptions else { return None };
    let only = SubscriptionFilter { resource_subscriptions: vec![uri.clone()], ..SubscriptionFilter::default() };
    (filter == only).then(|| uri.clone())
}

impl Shared {
    pub(super) fn new(line: Arc<Line>) -> Arc<Self> {
        Arc::new(Self { line, open: Mutex::default() })
    }

    /// Listens to a resource, on the stream that is open already if one is.
    pub(super) fn listen(self: &Arc<Self>, uri: String, call: UpstreamCall) -> Reply {
        let shared = self.clone();
        Reply::new(async_stream::stream! {
            let Joined { stream, mut events } = shared.join(&uri, call);
            let mut begun = stream.begun.subscribe();
            let first = match begun.wait_for(Option::is_some).await {
                Ok(first) => first.clone(),
                Err(_) => None,
            };
            let first = first.unwrap_or_else(broken);
            let over = matches!(first, Event::Done(_));
            yield first;
            if over {
                return;
            }
            loop {
                let event = match events.recv().await {
                    Ok(event) => event,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::debug!(uri, missed, "a slow listener missed updates");
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => broken(),
                };
                let over = matches!(event, Event::Done(_));
                yield event;
                if over {
                    return;
                }
            }
        })
    }

    fn join(self: &Arc<Self>, uri: &str, call: UpstreamCall) -> Joined {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = open.get(uri).and_then(Weak::upgrade) {
            let events = stream.events.subscribe();
            return Joined { stream, events };
        }
        let stop = CancellationToken::new();
        let (sender, events) = broadcast::channel(MAX_BEHIND);
        let begun = watch::Sender::new(None);
        tokio::spawn(self.clone().run(uri.to_owned(), call, sender.clone(), begun.clone(), stop.clone()));
        let stream = Arc::new(Stream { events: sender, begun, _stop: stop.drop_guard() });
        open.insert(uri.to_owned(), Arc::downgrade(&stream));
        Joined { stream, events }
    }

    /// Reads the stream for all of its listeners.
    async fn run(
        self: Arc<Self>,
        uri: String,
        call: UpstreamCall,
        events: broadcast::Sender<Event>,
        begun: watch::Sender<Option<Event>>,
        stop: CancellationToken,
    ) {
        let mut reply = send(&self.line, call);
        loop {
            let event = tokio::select! {
                event = reply.next() => event.unwrap_or_else(broken),
                () = stop.cancelled() => {
                    self.forget(&uri);
                    return;
                }
            };
            let over = matches!(event, Event::Done(_));
            if over {
                // Before anybody hears of the end: whoever comes from now on gets a stream of its own.
                self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&uri);
            }
            let is_first = begun.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert_with(|| event.clone());
                is_first
            });
            if !is_first {
                let _ = events.send(event);
            }
            if over {
                return;
            }
        }
    }

    /// Takes a stream out that nobody listens to; another one may have its place by now.
    fn forget(&self, uri: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(uri).is_some_and(|stream| stream.strong_count() == 0) {
            open.remove(uri);
        }
    }
}

fn broken() -> Event {
    Event::Done(Err(Error::new(ErrorKind::StreamLost, "the stream of a resource broke off")))
}
