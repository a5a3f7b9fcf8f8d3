//! The stream that holds the leases: one message per name, which the server removes when its time is over.
//!
//! It is not a bucket of the client's key-value store: that one renews without a time to live, and takes an expired key without one, so
//! that such a lease would never end. Here every message that takes or renews a lease has a `Nats-TTL` and says which message it
//! expects to be the last of its subject.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_nats::{
    HeaderMap, Request,
    client::RequestErrorKind,
    connection::State,
    jetstream::{
        self, Context,
        context::{CreateStreamErrorKind, GetStreamErrorKind},
        stream::{self, DiscardPolicy, LastRawMessageErrorKind, StorageType},
    },
};
use bytes::Bytes;
use serde::Deserialize;
use spanwire_model::{Error, ErrorKind, Result, Tenant};
use spanwire_nats::Connection;
use tokio::time::{Instant, timeout_at};

use super::{
    entry::{Entry, GIVEN_BACK, OPERATION, Value},
    first_token,
};

/// Longest that one request to JetStream may take.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the server keeps a marker of what has expired: the least there is. Times to live are raised to it.
const MARKER_TTL: Duration = Duration::from_secs(1);
/// Largest message: a value is some 200 bytes.
const MAX_VALUE_BYTES: i32 = 4 << 10;
/// Largest stream. When it is full new leases are refused; it never drops one that somebody has.
const MAX_STREAM_BYTES: i64 = 64 << 20;
/// Copies where the servers are a cluster, unless configured otherwise.
const CLUSTER_REPLICAS: usize = 3;
/// JetStream: another message was the last of the subject.
const WRONG_LAST_SEQUENCE: u64 = 10071;
/// JetStream: another message of the subject is on its way into the log.
const LAST_SEQUENCE_IN_PROCESS: u64 = 10164;
/// JetStream: one server alone has no replicas.
const REPLICAS_NOT_SUPPORTED: u64 = 10074;

/// The name of the stream.
pub(crate) fn stream_of(tenant: &Tenant) -> String {
    format!("SW_{tenant}_LEASES")
}

pub(super) struct Bucket {
    connection: Connection,
    context: Context,
    pub(super) stream: String,
    /// `{prefix}.{tenant}.lease`.
    base: String,
    replicas: Option<usize>,
    /// True once the stream was seen as it must be.
    ready: AtomicBool,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Written {
    /// It is stored, with this sequence.
    At(u64),
    /// It is not stored, since another one is.
    Conflict,
    /// It may be stored or not.
    Unknown(Error),
}

impl Bucket {
    pub(super) fn new(connection: Connection, config: &spanwire_nats::Config, replicas: Option<usize>) -> Self {
        let mut context = connection.jetstream();
        context.set_timeout(REQUEST_TIMEOUT);
        Self {
            context,
            connection,
            stream: stream_of(&config.tenant),
            base: format!("{}.lease", config.base()),
            replicas,
            ready: AtomicBool::new(false),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The subject of all names.
    pub(super) fn all(&self) -> String {
        format!("{}.>", self.base)
    }

    fn subject(&self, name: &str) -> String {
        format!("{}.{name}", self.base)
    }

    /// The name that a subject is of.
    pub(super) fn name<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.base)?.strip_prefix('.')
    }

    fn unreachable(&self, cause: impl ToString) -> Error {
        Error::new(ErrorKind::Unavailable, "the leases are out of reach").with_private(cause)
    }

    /// Makes the stream where there is none. Cheap when it was there before.
    pub(super) async fn ensure(&self) -> Result<()> {
        if self.connection.client.connection_state() != State::Connected {
            return Err(self.unreachable("no connection to nats"));
        }
        if self.ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let info = match self.context.get_stream(&self.stream).await {
            Ok(stream) => stream.cached_info().clone(),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause)
                    if cause.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    self.create().await?
                }
                _ => return Err(self.unreachable(error)),
            },
        };
        self.check(&info.config)?;
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Leases that never end are worse than none: an older server takes the setting and ignores it.
    fn check(&self, config: &stream::Config) -> Result<()> {
        let wrong = if !config.allow_message_ttl || config.subject_delete_marker_ttl != Some(MARKER_TTL) {
            "its messages do not expire as leases must"
        } else if config.max_messages_per_subject != 1 || config.subjects != [self.all()] {
            "it was made for something else, or under another prefix"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Unavailable, format!("cannot keep leases in stream {}: {wrong}", self.stream)))
    }

    async fn create(&self) -> Result<stream::Info> {
        let wanted = self.replicas.unwrap_or(CLUSTER_REPLICAS);
        match self.create_with(wanted).await {
            Err(CreateStreamErrorKind::JetStream(cause))
                if self.replicas.is_none() && cause.error_code().0 == REPLICAS_NOT_SUPPORTED =>
            {
                tracing::info!(stream = self.stream, "nats is one server: leases are kept once");
                self.create_with(1).await.map_err(|error| self.unreachable(error))
            }
            created => created.map_err(|error| self.unreachable(error)),
        }
    }

    async fn create_with(&self, replicas: usize) -> std::result::Result<stream::Info, CreateStreamErrorKind> {
        let config = stream::Config {
            name: self.stream.clone(),
            subjects: vec![self.all()],
            storage: StorageType::File,
            num_replicas: replicas,
            max_messages_per_subject: 1,
            max_message_size: MAX_VALUE_BYTES,
            max_bytes: MAX_STREAM_BYTES,
            discard: DiscardPolicy::New,
            allow_message_ttl: true,
            subject_delete_marker_ttl: Some(MARKER_TTL),
            // Sequences are tokens: those of a stream that had to be made again must be larger than those before.
            first_sequence: Some(first_token()),
            ..stream::Config::default()
        };
        match self.context.create_stream(config).await {
            Ok(stream) => Ok(stream.cached_info().clone()),
            Err(error) => match error.kind() {
                // Another node was faster.
                CreateStreamErrorKind::JetStream(cause)
                    if cause.error_code() == jetstream::ErrorCode::STREAM_NAME_EXIST =>
                {
                    let found = self.context.get_stream(&self.stream).await;
                    found.map(|stream| stream.cached_info().clone()).map_err(|_| CreateStreamErrorKind::Response)
                }
                kind => Err(kind),
            },
        }
    }

    /// The last message of a name, as the stream's leader has it. `Free` at 0 when there is none.
    pub(super) async fn read(&self, name: &str) -> Result<Entry> {
        let stream = self.context.get_stream_no_info(&self.stream).await.map_err(|error| self.unreachable(error))?;
        match stream.get_last_raw_message_by_subject(&self.subject(name)).await {
            Ok(message) => Ok(Entry::read(message.sequence, Some(&message.headers), &message.payload)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(Entry::Free { revision: 0 }),
                _ => Err(self.lost_sight(error)),
            },
        }
    }

    /// Takes or renews: stored when the last message of the name is the one expected.
    pub(super) async fn write(
        &self,
        name: &str,
        expected: u64,
        value: &Value,
        ttl: Duration,
        until: Instant,
    ) -> Written {
        let mut headers = HeaderMap::new();
        // In whole seconds, and never less than asked for: the holder counts on it.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        headers.insert("Nats-TTL", seconds.to_string().as_str());
        match serde_json::to_vec(value) {
            Ok(payload) => self.publish(name, expected, headers, payload.into(), until).await,
            Err(error) => Written::Unknown(self.unreachable(error)),
        }
    }

    /// Gives back what the message expected to be the last one has taken.
    pub(super) async fn give_back(&self, name: &str, expected: u64, until: Instant) -> Written {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, GIVEN_BACK);
        headers.insert("Nats-TTL", MARKER_TTL.as_secs().to_string().as_str());
        self.publish(name, expected, headers, Bytes::new(), until).await
    }

    async fn publish(
        &self,
        name: &str,
        expected: u64,
        mut headers: HeaderMap,
        payload: Bytes,
        until: Instant,
    ) -> Written {
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        headers.insert("Nats-Expected-Stream", self.stream.as_str());
        let request = Request::new().headers(headers).payload(payload).timeout(Some(REQUEST_TIMEOUT));
        let sent = self.connection.client.send_request(self.subject(name), request);
        let answer = match timeout_at(until, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                if error.kind() == RequestErrorKind::NoResponders {
                    self.ready.store(false, Ordering::Relaxed);
                }
                return Written::Unknown(self.unreachable(error));
            }
            Err(_) => return Written::Unknown(self.unreachable("no time left")),
        };
        match serde_json::from_slice::<Answer>(&answer.payload) {
            Ok(Answer::Stored { seq }) => Written::At(seq),
            Ok(Answer::Refused { error: Refused { err_code, .. } })
                if [WRONG_LAST_SEQUENCE, LAST_SEQUENCE_IN_PROCESS].contains(&err_code) =>
            {
                Written::Conflict
            }
            Ok(Answer::Refused { error }) => {
                Written::Unknown(self.unreachable(format!("{} ({})", error.description, error.err_code)))
            }
            Err(error) => Written::Unknown(self.unreachable(error)),
        }
    }

    /// Out of reach, and perhaps since the stream is gone: look again before the next use.
    pub(super) fn lost_sight(&self, cause: impl ToString) -> Error {
        self.ready.store(false, Ordering::Relaxed);
        self.unreachable(cause)
    }
}

/// What JetStream answers to a message.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused { error: Refused },
    Stored { seq: u64 },
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}
