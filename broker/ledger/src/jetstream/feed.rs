//! One shard's entries as they come: a pull consumer that is thrown away at the first sign of trouble.
//!
//! It is read only while it is being waited for, and the server sends no more than was asked for: an entry that nobody takes
//! yet waits in the stream, not in memory. A connection that was lost, a gap, the end of the consumer or silence end the feed;
//! its owner opens another one behind the last entry that was applied.

use std::{sync::atomic::Ordering, time::Duration};

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
use tokio::time::{Instant, sleep};
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

/// The consumer and its subscription.
pub(super) struct Feed {
    client: Client,
    context: jetstream::Context,
    consumer: Consumer<Config>,
    messages: Subscriber,
    inbox: String,
    /// The pull that is under way; states of earlier ones are of no interest.
    pull: u64,
    /// Entries that it may still bring.
    left: usize,
    /// The consumer's own number of the next delivery.
    next_delivery: u64,
    heard: Instant,
    connects: u64,
    batch: Vec<Delivered>,
}

impl Feed {
    /// Begins with the entry `from`, or the first one after it that there is.
    pub(super) async fn open(streams: &Streams, shard: Shard, node: &NodeId, from: u64) -> Result<Self, Trouble> {
        let client = streams.client();
        let inbox = client.new_inbox();
        let messages = client.subscribe(format!("{inbox}.*")).await;
        let messages = messages.map_err(|error| Trouble::NoAnswer(error.to_string()))?;
        let connects = connects(&client);
        let config = Config {
            name: Some(format!("{node}-{}", Uuid::new_v4().simple())),
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
            client,
            context: streams.context().clone(),
            consumer,
            messages,
            inbox,
            pull: 0,
            left: 0,
            next_delivery: 1,
            heard: Instant::now(),
            connects,
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
        if self.client.connection_state() != State::Connected || connects(&self.client) != self.connects {
            return Err(ended("the connection was lost"));
        }
        if self.heard.elapsed() > SILENCE {
            return Err(ended("the consumer is silent"));
        }
        Ok(())
    }
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
