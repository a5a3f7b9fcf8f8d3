//! Follows the bucket: who has which lease.
//!
//! In rounds. A round reads the last message of every name and then what comes. It ends with any error, a silence of the server, a hole in
//! what it delivers, a new connection, and after some minutes in any case; the next one compares everything. A round cannot go on where
//! the one before ended: markers of what has expired meanwhile are kept for a second only.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
};
use futures::StreamExt;
use spanwire_model::{Error, Holding, Holdings, NodeId, Result};
use spanwire_nats::{Link, jittered};
use tokio::{
    sync::watch,
    time::{Instant, interval_at, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    bucket::{Bucket, REQUEST_TIMEOUT},
    entry::Entry,
};

/// Pause after the first round that fails; it doubles from there.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(4);
/// How often the leader is asked how far the stream is.
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// How long a round lasts.
const ROUND: Duration = Duration::from_secs(240);
/// How long the first reading of a round may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the server says that it is there; it is taken for gone after two of them.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long one order for messages is good for.
const ORDER: Duration = Duration::from_secs(30);
/// How many messages are ordered at once.
const ORDER_MESSAGES: usize = 256;

pub(super) struct Watcher {
    pub(super) bucket: Arc<Bucket>,
    pub(super) node: NodeId,
    pub(super) holdings: watch::Sender<Arc<Holdings>>,
    pub(super) closed: CancellationToken,
}

impl Watcher {
    /// Runs until it is closed.
    pub(super) async fn run(self) {
        let mut link = self.bucket.connection().link.clone();
        let mut pause = MIN_PAUSE;
        let closed = self.closed.clone();
        while !closed.is_cancelled() {
            let connects = link.borrow_and_update().connects;
            let mut complete = false;
            let ended = tokio::select! {
                () = closed.cancelled() => return,
                ended = self.round(&mut complete) => ended,
                () = connected_again(link.clone(), connects) => Ok(()),
            };
            if complete {
                pause = MIN_PAUSE;
            }
            let Err(error) = ended else { continue };
            tracing::debug!(%error, ?pause, "leases are not watched");
            tokio::select! {
                () = closed.cancelled() => return,
                () = sleep(jittered(pause)) => {}
                () = connected_again(link.clone(), connects) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Reads everything, and follows it for a while. `complete` is set when everything was read.
    async fn round(&self, complete: &mut bool) -> Result<()> {
        self.bucket.ensure().await?;
        let consumer = self.consumer().await?;
        let name = consumer.cached_info().name.clone();
        let followed = self.follow(&consumer, complete).await;
        // It goes by itself after a while; this is to be tidy.
        let _ = timeout(REQUEST_TIMEOUT, self.bucket.context().delete_consumer_from_stream(&name, &self.bucket.stream))
            .await;
        followed
    }

    async fn consumer(&self) -> Result<Consumer<pull::Config>> {
        let config = pull::Config {
            name: Some(format!("watch-{}-{}", self.node, Uuid::new_v4().simple())),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            filter_subject: self.bucket.all(),
            inactive_threshold: 2 * ORDER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let created = self.bucket.context().create_consumer_on_stream(config, &self.bucket.stream).await;
        created.map_err(|error| self.bucket.lost_sight(error))
    }

    async fn follow(&self, consumer: &Consumer<pull::Config>, complete: &mut bool) -> Result<()> {
        let gone = |cause: &dyn std::fmt::Display| self.bucket.lost_sight(cause.to_string());
        let messages = consumer.stream().expires(ORDER).heartbeat(HEARTBEAT).max_messages_per_batch(ORDER_MESSAGES);
        let mut messages = messages.messages().await.map_err(|error| gone(&error))?;
        let mut reading = Reading { seen: BTreeMap::new(), delivered: 0, last: 0 };
        let mut left = consumer.cached_info().num_pending;
        while left > 0 {
            let next = timeout(READ_TIMEOUT, messages.next()).await.map_err(|_| gone(&"silence"))?;
            let message = next.ok_or_else(|| gone(&"the end"))?.map_err(|error| gone(&error))?;
            left = reading.take(&self.bucket, &message)?;
        }
        *complete = true;
        self.tell(&reading.seen);
        let end = Instant::now() + jittered(ROUND);
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        let mut before = (reading.last, u64::MAX);
        loop {
            let next = tokio::select! {
                next = messages.next() => next,
                () = sleep_until(end) => return Ok(()),
                _ = looks.tick() => {
                    // A consumer may be on a server that lags behind, and bring nothing while others renew.
                    let Ok(stream) = self.bucket.context().get_stream(&self.bucket.stream).await else { continue };
                    let now = (reading.last, stream.cached_info().state.last_sequence);
                    if now.0 == before.0 && now.1 > before.1 && now.0 < before.1 {
                        return Err(gone(&"it brings nothing new"));
                    }
                    before = now;
                    continue;
                }
            };
            let message = next.ok_or_else(|| gone(&"the end"))?.map_err(|error| gone(&error))?;
            reading.take(&self.bucket, &message)?;
            self.tell(&reading.seen);
        }
    }

    /// Renewals change nothing, and are not told.
    fn tell(&self, seen: &Holdings) {
        self.holdings.send_if_modified(|holdings| {
            let changed = **holdings != *seen;
            if changed {
                *holdings = Arc::new(seen.clone());
            }
            changed
        });
    }
}

/// What a round has read so far.
struct Reading {
    seen: Holdings,
    /// Messages that the consumer has delivered.
    delivered: u64,
    /// The last of them, by its number in the stream.
    last: u64,
}

impl Reading {
    /// Takes a message; how many there are to come. An error when one before it is missing.
    fn take(&mut self, bucket: &Bucket, message: &Message) -> Result<u64> {
        let wrong = |cause: &dyn std::fmt::Display| -> Error { bucket.lost_sight(cause.to_string()) };
        let info = message.info().map_err(|error| wrong(&error))?;
        self.delivered += 1;
        self.last = info.stream_sequence;
        if info.consumer_sequence != self.delivered {
            return Err(wrong(&"a message is missing"));
        }
        let name = bucket.name(&message.subject).ok_or_else(|| wrong(&"a message of another subject"))?;
        match Entry::read(info.stream_sequence, message.headers.as_ref(), &message.payload) {
            Entry::Held { revision, value } => {
                let token = value.token(revision);
                self.seen.insert(name.into(), Holding { node: value.node, token });
            }
            Entry::Free { .. } | Entry::Strange => {
                self.seen.remove(name);
            }
        }
        Ok(info.pending)
    }
}

/// Returns at the next connection. A client that was closed makes none.
async fn connected_again(mut link: watch::Receiver<Link>, connects: u64) {
    if link.wait_for(|link| link.connects != connects).await.is_err() {
        std::future::pending::<()>().await;
    }
}
