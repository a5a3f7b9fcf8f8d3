//! One shard's entries as they come: a pull consumer that is thrown away at the first sign of trouble.
//!
//! It is read only while it is being waited for, and the server sends no more than was asked for: an entry that nobody takes
//! yet waits in the stream, not in memory. A connection that was lost, a gap, the end of the consumer or silence end the feed;
//! its owner opens another one behind the last entry that was applied.
//!
//! The server is asked to forget a consumer that is of no use any more: at once where the connection is there, else by whoever opens the
//! next feed of the log. Nobody waits for an answer, and what it does not hear it forgets by itself after a minute.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client, StatusCode, Subscriber,
    connection::State,
    jetstream::{
        self,
        consumer::{
            AckPolicy, Consumer, DeliverPolicy, ReplayPolicy,
            pull::{BatchConfig, Config},
        },
    },
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use spanwire_model::{NodeId, Shard};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

use super::streams::{Streams, Trouble};

/// Entries that the server may send at once. Memory is bounded by this and the next.
const PULL_ENTRIES: usize = 512;
/// Bytes that the server may send at once; more than the largest entry.
const PULL_BYTES: usize = 4 * 1024 * 1024;
/// How long one pull waits for entries.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that there is nothing new.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which the consumer counts as gone.
const SILENCE: Duration = Duration::from_millis(3500);
/// After which the server forgets a consumer that nobody pulls from.
const INACTIVE: Duration = Duration::from_secs(60);
/// How long it may take to hand over a request to forget a consumer.
const FORGET_TIMEOUT: Duration = Duration::from_secs(1);
/// Consumers of a log that are remembered until the server can be asked to forget them.
const MAX_LEFT_BEHIND: usize = 16;
/// How often the connection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Entries that are handed over together, at most.
const BATCH_ENTRIES: usize = 256;
/// Bytes that are handed over together, about.
const BATCH_BYTES: usize = 1024 * 1024;

/// An entry as the log delivered it.
#[derive(Debug, Clone)]
pub(super) struct Delivered {
    pub(super) sequence: u64,
    /// When the log took it, in milliseconds since 1970.
    pub(super) time_ms: u64,
    pub(super) payload: Bytes,
    /// How many entries were behind it.
    pub(super) pending: u64,
}

/// Consumers of one log that could not be given back, since there was no connection.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftBehind(Arc<Mutex<VecDeque<String>>>);

/// A consumer as the server's. Dropping it asks the server to forget it.
struct Ours {
    client: Client,
    /// The subject of the request.
    forget: String,
    /// The connection that it was made on.
    connects: u64,
    left_behind: LeftBehind,
}

/// The consumer and its subscription.
pub(super) struct Feed {
    context: jetstream::Context,
    consumer: Consumer<Config>,
    ours: Ours,
    messages: Subscriber,
    inbox: String,
    /// The pull that is under way; states of earlier ones are of no interest.
    pull: u64,
    /// Entries that it may still bring.
    left: usize,
    /// The consumer's own number of the next delivery.
    next_delivery: u64,
    heard: Instant,
    batch: Vec<Delivered>,
}

impl Feed {
    /// Begins with the entry `from`, or the first one after it that there is.
    pub(super) async fn open(
        streams: &Streams,
        shard: Shard,
        node: &NodeId,
        from: u64,
        left_behind: &LeftBehind,
    ) -> Result<Self, Trouble> {
        let client = streams.client();
        let inbox = client.new_inbox();
        let messages = client.subscribe(format!("{inbox}.*")).await;
        let messages = messages.map_err(|error| Trouble::NoAnswer(error.to_string()))?;
        left_behind.forget_all(&client);
        let name = format!("{node}-{}", Uuid::new_v4().simple());
        // From here on: a request that is not answered in time may be heard all the same.
        let ours = Ours {
            client: client.clone(),
            forget: streams.forget_subject(shard, &name),
            connects: connects(&client),
            left_behind: left_behind.clone(),
        };
        let config = Config {
            name: Some(name),
            description: Some(format!("spanwire: {shard} on {node}")),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            inactive_threshold: INACTIVE,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        let consumer = streams.handle(shard).await?.create_consumer(config).await;
        let consumer = consumer.map_err(|error| Trouble::NoAnswer(error.to_string()))?;
        let mut feed = Self {
            context: streams.context().clone(),
            consumer,
            ours,
            messages,
            inbox,
            pull: 0,
            left: 0,
            next_delivery: 1,
            heard: Instant::now(),
            batch: Vec::new(),
        };
        feed.pull().await?;
        Ok(feed)
    }

    /// The next entries, at least one, as far as they are there.
    ///
    /// # Errors
    /// Why the feed has ended.
    pub(super) async fn next(&mut self) -> Result<Vec<Delivered>, Trouble> {
        while self.batch.is_empty() {
            tokio::select! {
                biased;
                message = self.messages.next() => self.take(message).await?,
                () = sleep(LOOK_EVERY) => self.look()?,
            }
        }
        let mut bytes: usize = self.batch.iter().map(|entry| entry.payload.len()).sum();
        while self.batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let Some(message) = self.messages.next().now_or_never() else { break };
            let before = self.batch.len();
            self.take(message).await?;
            bytes += self.batch[before..].iter().map(|entry| entry.payload.len()).sum::<usize>();
        }
        Ok(std::mem::take(&mut self.batch))
    }

    async fn take(&mut self, message: Option<async_nats::Message>) -> Result<(), Trouble> {
        let Some(message) = message else { return Err(ended("the connection was closed")) };
        match message.status {
            None | Some(StatusCode::OK) => {
                self.heard = Instant::now();
                self.entry(message)?;
            }
            Some(_) if !message.subject.ends_with(&format!(".{}", self.pull)) => {}
            Some(StatusCode::IDLE_HEARTBEAT) => self.heard = Instant::now(),
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => self.left = 0,
            Some(StatusCode::REQUEST_TERMINATED) if is_pause(message.description.as_deref()) => self.left = 0,
            Some(status) => {
                let text = message.description.as_deref().unwrap_or("no reason given");
                return Err(ended(&format!("the consumer ended with {status}: {text}")));
            }
        }
        if self.left == 0 { self.pull().await } else { Ok(()) }
    }

    fn entry(&mut self, message: async_nats::Message) -> Result<(), Trouble> {
        let message = jetstream::Message { message, context: self.context.clone() };
        let info = message.info().map_err(|error| ended(&format!("a message without a place in the log: {error}")))?;
        if info.consumer_sequence != self.next_delivery {
            let (got, wanted) = (info.consumer_sequence, self.next_delivery);
            return Err(ended(&format!("delivery {got} came instead of {wanted}")));
        }
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let time_ms = u64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        self.next_delivery += 1;
        self.left = self.left.saturating_sub(1);
        self.batch.push(Delivered { sequence, time_ms, payload: message.message.payload, pending });
        Ok(())
    }

    async fn pull(&mut self) -> Result<(), Trouble> {
        self.pull += 1;
        self.left = PULL_ENTRIES;
        let request = BatchConfig {
            batch: PULL_ENTRIES,
            expires: Some(PULL_EXPIRES),
            max_bytes: PULL_BYTES,
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        let inbox = format!("{}.{}", self.inbox, self.pull);
        let sent = self.consumer.request_batch(request, inbox.into()).await;
        sent.map_err(|error| ended(&error.to_string()))
    }

    fn look(&self) -> Result<(), Trouble> {
        if !self.ours.is_connected() {
            return Err(ended("the connection was lost"));
        }
        if self.heard.elapsed() > SILENCE {
            return Err(ended("the consumer is silent"));
        }
        Ok(())
    }
}

impl Ours {
    /// True while the connection that it was made on is there.
    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected && connects(&self.client) == self.connects
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let subject = std::mem::take(&mut self.forget);
        if self.is_connected() {
            forget(&self.client, vec![subject]);
        } else {
            self.left_behind.add(subject);
        }
    }
}

impl LeftBehind {
    fn add(&self, subject: String) {
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if subjects.len() >= MAX_LEFT_BEHIND {
            subjects.pop_front();
        }
        subjects.push_back(subject);
    }

    fn forget_all(&self, client: &Client) {
        let subjects = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !subjects.is_empty() {
            forget(client, subjects.into());
        }
    }
}

/// Asks the server to forget consumers, in the background. The answers go nowhere.
fn forget(client: &Client, subjects: Vec<String>) {
    // Without one the process ends: so does the connection.
    let Ok(runtime) = Handle::try_current() else { return };
    let client = client.clone();
    runtime.spawn(async move {
        let ask = async {
            for subject in subjects {
                let nobody = client.new_inbox();
                client.publish_with_reply(subject, nobody, Bytes::new()).await?;
            }
            Ok::<_, async_nats::PublishError>(())
        };
        match timeout(FORGET_TIMEOUT, ask).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("a consumer is left to the server: {error}"),
            Err(_) => tracing::debug!("a consumer is left to the server: the connection is busy"),
        }
    });
}

/// How often the client has been connected.
fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// True for the ends of a pull after which the consumer is still there: what was asked for has come, or the next entry is more than what
/// is left of it.
fn is_pause(description: Option<&str>) -> bool {
    description.is_some_and(|text| {
        text.eq_ignore_ascii_case("Batch Completed") || text.eq_ignore_ascii_case("Message Size Exceeds MaxBytes")
    })
}

fn ended(text: &str) -> Trouble {
    Trouble::NoAnswer(text.to_owned())
}
