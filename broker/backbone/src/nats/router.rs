//! The tasks of one connection: what comes in is passed on, and nothing here ever waits for a call.

use std::sync::Arc;

use async_nats::{Message, StatusCode, Subscriber};
use futures::{Stream, StreamExt, stream};
use spanwire_model::{Error, ErrorKind, Result};

use super::{
    frame::Head,
    header,
    inner::{EXECUTOR, Inner, PROBE},
    subject::last_token,
    window::Amount,
};

/// Subscribes to what every connection needs and starts its tasks.
pub(super) async fn start(inner: &Arc<Inner>) -> Result<()> {
    let inbox = subscribe(inner, inner.subjects.inboxes()).await?;
    let [here, everywhere] = inner.subjects.controls();
    let controls = stream::select(subscribe(inner, here).await?, subscribe(inner, everywhere).await?);
    inner.tasks.spawn(each(inner.clone(), inbox, returned));
    inner.tasks.spawn(each(inner.clone(), controls, controlled));
    inner.tasks.spawn(watch_link(inner.clone()));
    Ok(())
}

/// Subscribes, in words that fit everywhere.
pub(super) async fn subscribe(inner: &Inner, subject: String) -> Result<Subscriber> {
    inner.client.subscribe(subject).await.map_err(not_subscribed)
}

pub(super) fn not_subscribed(error: impl ToString) -> Error {
    Error::new(ErrorKind::Unavailable, "cannot subscribe at the backbone").with_private(error)
}

async fn each(
    inner: Arc<Inner>,
    mut messages: impl Stream<Item = Message> + Unpin,
    mut take: impl FnMut(&Inner, Message),
) {
    let closed = inner.closed.clone();
    while let Some(Some(message)) = closed.run_until_cancelled(messages.next()).await {
        take(&inner, message);
    }
}

/// Something came into an inbox of this connection.
fn returned(inner: &Inner, message: Message) {
    let key = last_token(&message.subject);
    let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
    if key.starts_with(PROBE) {
        inner.probe_returned(key);
    } else if let Some(call) = key.strip_prefix(EXECUTOR) {
        // A frame of ours found no inbox: the caller's connection is gone.
        if nobody && let Some(control) = inner.running.find(call) {
            control.cancelled.cancel();
        }
    } else if let Some(slot) = inner.waiter(key) {
        if nobody {
            slot.nobody();
        } else {
            let head = message.headers.as_ref().and_then(Head::decode);
            slot.push(head.map(|head| (head, message.payload)));
        }
    }
}

/// A caller controls a call that may be running here.
fn controlled(inner: &Inner, message: Message) {
    let key = last_token(&message.subject);
    let Some(headers) = message.headers.as_ref().filter(|headers| header::is_ours(headers)) else { return };
    match header::get(headers, header::CONTROL) {
        Some("cancel") => inner.running.cancel(key),
        Some("credit") => {
            if let (Some(control), Some((frames, bytes))) =
                (inner.running.find(key), header::pair(headers, header::TAKEN))
            {
                control.taken(Amount { frames, bytes });
            }
        }
        Some("part") => {
            if let (Some(control), Some(part)) = (inner.running.find(key), header::parse(headers, header::PART)) {
                control.part((part, message.payload));
            }
        }
        Some(_) | None => tracing::debug!(key, "control message that is not understood"),
    }
}

/// Tells subscribers of events when they may have missed some.
async fn watch_link(inner: Arc<Inner>) {
    let mut link = inner.link.clone();
    let mut seen = *link.borrow_and_update();
    let closed = inner.closed.clone();
    while let Some(Ok(())) = closed.run_until_cancelled(link.changed()).await {
        let now = *link.borrow_and_update();
        if now.connects > seen.connects {
            spanwire_nats::check_version(&inner.client);
            tracing::info!(connects = now.connects, "connected to nats");
            // A gap that is told before the subscriptions are there again would hide what comes between.
            if !matches!(closed.run_until_cancelled(inner.settle()).await, Some(true)) && inner.is_connected() {
                tracing::warn!("nats does not return messages; subscriptions may be late");
            }
            inner.note_gap();
        } else if now.overflows > seen.overflows {
            tracing::warn!("messages were lost: this node is too slow for its subscriptions");
            inner.note_gap();
        } else if !now.connected && seen.connected {
            tracing::warn!("connection to nats is lost");
        }
        seen = now;
    }
}
