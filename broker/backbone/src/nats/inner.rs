//! What all parts of one connection share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, HeaderMap, Subject, client::PublishErrorKind, connection::State};
use bytes::Bytes;
use spanwire_model::{Error, ErrorKind, Result};
use spanwire_nats::Link;
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{Config, running::RunningCalls, slot::Slot, subject::Subjects, window::Amount};
use crate::gauge::InFlight;

/// Room that headers may need, of the server's `max_payload`.
const HEADER_ROOM: usize = 16 << 10;
/// Largest part of a large payload.
const MAX_PART: usize = 256 << 10;
/// Bytes of all replies together that may be on the way to this node: less than the 64 MiB after which a server takes a
/// connection for a slow consumer and closes it.
const CONNECTION_WINDOW_BYTES: u64 = 32 << 20;
/// Smallest window of a reply, however many there are.
const MIN_WINDOW_BYTES: u64 = 64 << 10;
/// How long a message to oneself may take until the subscriptions before it count as made.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Keys of inboxes that are not replies to a request.
pub(super) const PROBE: &str = "p-";
/// The inbox in which a handling node hears that its caller is gone.
pub(super) const EXECUTOR: &str = "x-";

pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) client: Client,
    pub(super) link: watch::Receiver<Link>,
    pub(super) subjects: Subjects,
    pub(super) in_flight: InFlight,
    /// The calls that this node handles.
    pub(super) running: RunningCalls,
    /// Counts the moments after which publications may have been missed.
    pub(super) gaps: watch::Sender<u64>,
    pub(super) closed: CancellationToken,
    pub(super) tasks: TaskTracker,
    /// True while somebody serves this node's own address.
    pub(super) node_served: Arc<AtomicBool>,
    /// Held by the subscription to this node's own address until the server has been told to end it.
    pub(super) node_seat: Arc<Semaphore>,
    waiting: Mutex<HashMap<String, Arc<Slot>>>,
    probes: Mutex<HashMap<String, oneshot::Sender<()>>>,
    connection: String,
    next_key: AtomicU64,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error("this node is not connected to the backbone")]
    NotConnected,
    #[error("the message is above the server's limit")]
    TooLarge,
    #[error("the client did not take the message: {0}")]
    Refused(String),
}

impl Inner {
    pub(super) fn new(config: Config, client: Client, link: watch::Receiver<Link>) -> Self {
        let named = &config.connection;
        let mut connection = Uuid::new_v4().simple().to_string();
        connection.truncate(12);
        Self {
            subjects: Subjects::new(&named.prefix, &named.tenant, named.node.clone(), connection.clone()),
            config,
            client,
            link,
            in_flight: InFlight::default(),
            running: RunningCalls::default(),
            gaps: watch::channel(0).0,
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            node_served: Arc::default(),
            node_seat: Arc::new(Semaphore::new(1)),
            waiting: Mutex::default(),
            probes: Mutex::default(),
            connection,
            next_key: AtomicU64::new(0),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.closed.is_cancelled() && self.client.connection_state() == State::Connected
    }

    pub(super) fn open(&self) -> Result<()> {
        if self.closed.is_cancelled() {
            let text = format!("node \"{}\" is shutting down", self.config.node());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(())
    }

    /// Largest payload of one message.
    pub(super) fn max_payload(&self) -> usize {
        let max = self.client.max_payload();
        max - HEADER_ROOM.min(max / 4)
    }

    /// Largest part of a payload that goes in parts.
    pub(super) fn max_part(&self) -> usize {
        MAX_PART.min(self.max_payload()).min(self.config.window_bytes / 2).max(1)
    }

    /// Sends a message, or says at once that there is no connection.
    pub(super) async fn publish(
        &self,
        subject: impl Into<Subject>,
        reply: Option<Subject>,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Unsent> {
        if self.client.connection_state() != State::Connected {
            return Err(Unsent::NotConnected);
        }
        let subject = subject.into();
        let publish = async {
            match reply {
                Some(reply) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
                None => self.client.publish_with_headers(subject, headers, payload).await,
            }
        };
        match timeout(self.config.lost_after, publish).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => Err(Unsent::TooLarge),
            Ok(Err(error)) => Err(Unsent::Refused(error.to_string())),
            // Its queue is full: it does not write, so the connection is as good as down.
            Err(_) => Err(Unsent::NotConnected),
        }
    }

    /// Waits for the connection to come back, but not longer than a reply may be silent.
    pub(super) async fn connected_again(&self) -> bool {
        let mut link = self.link.clone();
        let again = async {
            while self.client.connection_state() != State::Connected {
                if link.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        timeout(self.config.lost_after, again).await.unwrap_or(false)
    }

    /// A key for a request: unique, since one call may make several.
    pub(super) fn new_key(&self, call_id: Uuid) -> String {
        let n = self.next_key.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{n}", call_id.simple(), self.connection)
    }

    /// What is offered to the next reply.
    pub(super) fn offered_window(&self) -> Amount {
        let share = CONNECTION_WINDOW_BYTES / (self.waiting().len() as u64 + 1);
        let max = (self.config.window_bytes as u64).max(2);
        Amount { frames: self.config.window_frames.max(2) as u64, bytes: share.max(MIN_WINDOW_BYTES).min(max) }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait_for(&self, key: &str, slot: Arc<Slot>) {
        self.waiting().insert(key.to_owned(), slot);
    }

    pub(super) fn stop_waiting(&self, key: &str) {
        self.waiting().remove(key);
    }

    pub(super) fn waiter(&self, key: &str) -> Option<Arc<Slot>> {
        self.waiting().get(key).cloned()
    }

    fn probes(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn probe_returned(&self, key: &str) {
        if let Some(done) = self.probes().remove(key) {
            let _ = done.send(());
        }
    }

    /// Sends a message to this connection and waits for it: what was subscribed before is then known to the server.
    /// False when it did not come back.
    pub(super) async fn settle(&self) -> bool {
        let key = format!("{PROBE}{}", self.next_key.fetch_add(1, Ordering::Relaxed));
        let (done, returned) = oneshot::channel();
        self.probes().insert(key.clone(), done);
        let sent = self.publish(self.subjects.inbox(&key), None, super::header::new(), Bytes::new()).await;
        let settled = sent.is_ok() && matches!(timeout(PROBE_TIMEOUT, returned).await, Ok(Ok(())));
        self.probes().remove(&key);
        settled
    }

    pub(super) fn note_gap(&self) {
        self.gaps.send_modify(|gaps| *gaps += 1);
    }
}
