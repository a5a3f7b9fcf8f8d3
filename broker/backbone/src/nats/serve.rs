//! The serving side: subscriptions, and what becomes of a request that arrives.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use spanwire_model::{BusHandler, Error, ErrorKind, Result, ServeGuard, ServeOn};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    envelope::{self, Envelope},
    handle::{self, Job},
    inner::Inner,
    outbox::Outbox,
    request::MAX_PARTS_AHEAD,
    router::not_subscribed,
    running::Control,
    window::Amount,
};

/// How long requests may be on the way to a subscription that ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest window that a caller is believed.
const MAX_WINDOW: Amount = Amount { frames: 4096, bytes: 64 << 20 };

pub(super) async fn serve(inner: &Arc<Inner>, on: ServeOn, handler: Arc<dyn BusHandler>) -> Result<ServeGuard> {
    inner.open()?;
    let stop = CancellationToken::new();
    let guard = match on {
        ServeOn::Server(server) => {
            let subject = inner.subjects.requests_to_server(&server);
            let requests = inner.client.queue_subscribe(subject, server.to_string()).await.map_err(not_subscribed)?;
            inner.tasks.spawn(accept(inner.clone(), requests, handler, stop.clone(), None));
            stop_on_drop(stop, None)
        }
        ServeOn::Node => {
            if inner.node_served.swap(true, Ordering::AcqRel) {
                let text = format!("node \"{}\" is served already", inner.config.node());
                return Err(Error::new(ErrorKind::Internal, text));
            }
            let guard = stop_on_drop(stop.clone(), Some(inner.clone()));
            // Two subscriptions at once would both get each request.
            let seat = inner.node_seat.clone().acquire_owned().await.map_err(not_subscribed)?;
            let subject = inner.subjects.requests_to_this_node();
            let requests = inner.client.subscribe(subject).await.map_err(not_subscribed)?;
            inner.tasks.spawn(accept(inner.clone(), requests, handler, stop, Some(seat)));
            guard
        }
    };
    if inner.is_connected() && !inner.settle().await {
        tracing::warn!("nats did not confirm a subscription; it is made when the connection is back");
    }
    Ok(guard)
}

fn stop_on_drop(stop: CancellationToken, node_of: Option<Arc<Inner>>) -> ServeGuard {
    let served = node_of.map(|inner| inner.node_served.clone());
    ServeGuard::new(move || {
        stop.cancel();
        if let Some(served) = &served {
            served.store(false, Ordering::Release);
        }
    })
}

/// Takes requests until the guard is dropped, and then what was already on the way.
async fn accept(
    inner: Arc<Inner>,
    mut requests: Subscriber,
    handler: Arc<dyn BusHandler>,
    stop: CancellationToken,
    _seat: Option<OwnedSemaphorePermit>,
) {
    loop {
        tokio::select! {
            biased;
            () = inner.closed.cancelled() => return,
            () = stop.cancelled() => break,
            message = requests.next() => match message {
                Some(message) => arrived(&inner, message, &handler),
                None => return,
            },
        }
    }
    // Without a connection nothing is on the way, and dropping the subscription is enough.
    let rest = async {
        if inner.is_connected() && requests.drain().await.is_ok() {
            while let Some(message) = requests.next().await {
                arrived(&inner, message, &handler);
            }
        }
    };
    let _ = timeout(DRAIN_TIMEOUT, inner.closed.run_until_cancelled(rest)).await;
}

/// Starts the task of a request, or refuses it. Never waits.
fn arrived(inner: &Arc<Inner>, message: Message, handler: &Arc<dyn BusHandler>) {
    let Some((reply, key)) = message.reply.as_ref().and_then(|reply| {
        let key = inner.subjects.key_of_reply(reply)?.to_owned();
        Some((reply.clone(), key))
    }) else {
        tracing::warn!(subject = %message.subject, "request without an inbox to answer to");
        return;
    };
    let outbox = Outbox::new(inner.clone(), reply, &key);
    let headers = message.headers.unwrap_or_default();
    let envelope = match envelope::decode(&inner.subjects, &message.subject, &headers, message.payload) {
        Ok(envelope) => envelope,
        Err(what) => {
            let error = Error::new(ErrorKind::HeaderMismatch, format!("request refused: {what}"));
            refuse(inner, outbox, error);
            return;
        }
    };
    if inner.in_flight.handling.count() >= inner.config.max_handling as u64 {
        let text = format!("node \"{}\" handles as many requests as it may", inner.config.node());
        refuse(inner, outbox, Error::new(ErrorKind::Overloaded, text));
        return;
    }
    let Envelope { request, window, announced } = envelope;
    let (parts_tx, parts) = mpsc::channel(MAX_PARTS_AHEAD);
    let control = Arc::new(Control::new(within_reason(window), announced.as_ref().map(|_| parts_tx)));
    if !inner.running.list(&key, control.clone()) {
        return; // cancelled before it came
    }
    // Counted here and not in the task, so that the limit above holds.
    let handling = inner.in_flight.handling.enter();
    let job = Job { request, key, control, announced, parts, outbox, handling };
    inner.tasks.spawn(handle::run(inner.clone(), handler.clone(), job));
}

fn refuse(inner: &Arc<Inner>, mut outbox: Outbox, error: Error) {
    let handling = inner.in_flight.handling.enter();
    inner.tasks.spawn(async move {
        outbox.fail(&error).await;
        drop(handling);
    });
}

/// What the caller offers, since it is the caller's memory, up to what no caller of ours would offer.
fn within_reason(offered: Amount) -> Amount {
    Amount { frames: offered.frames.min(MAX_WINDOW.frames), bytes: offered.bytes.min(MAX_WINDOW.bytes) }
}
