//! The streams that keep the logs: made where they are missing, and asked how they are.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    Context, ErrorCode,
    context::{RequestError, RequestErrorKind},
    response::Response,
    stream::{self, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream},
};
use bytes::Bytes;
use serde_json::json;
use spanwire_model::{MAX_COMMAND_BYTES, Shard};
use uuid::Uuid;

use super::{feed::Delivered, names::Names};

/// Largest message of a stream, headers included.
const MAX_MESSAGE_BYTES: usize = MAX_COMMAND_BYTES + 16 * 1024;
/// Within which the server itself drops a message that it has. The applier drops them for much longer.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Replicas where the servers are clustered and nobody said otherwise.
const CLUSTER_REPLICAS: u8 = 3;
/// JetStream: one server alone has no replicas.
const REPLICAS_NOT_SUPPORTED: u64 = 10074;
/// The stream's own name for itself, which a stream made anew does not have.
const IDENTITY: &str = "spanwire.identity";
/// A replica from which the leader has not heard for so long does not count. It hears from each every second.
const REPLICA_SILENT: Duration = Duration::from_secs(3);
/// How long JetStream may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to make a stream: servers that have just started elect leaders first.
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);

/// What JetStream knows about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Which stream of that name it is.
    pub(super) identity: String,
    /// The first entry that it holds; one more than `last` when it is empty.
    pub(super) first: u64,
    /// The last entry.
    pub(super) last: u64,
    pub(super) bytes: u64,
    pub(super) replicas: u8,
    /// Whether the servers that keep it are a cluster.
    pub(super) clustered: bool,
    /// Whether enough replicas are there to accept an entry.
    pub(super) writable: bool,
}

/// Why JetStream did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The servers have none, or the account may not use it.
    #[error(
        "nats has no jetstream for this node ({0}): start nats-server with -js, or give the account jetstream limits"
    )]
    NoJetStream(String),
    /// There is no such stream.
    #[error("the stream is missing")]
    Missing,
    /// No leader, no connection, or too slow.
    #[error("no answer from jetstream: {0}")]
    NoAnswer(String),
    /// It said no.
    #[error("jetstream refused: {0}")]
    Refused(String),
}

impl From<RequestError> for Trouble {
    fn from(error: RequestError) -> Self {
        match error.kind() {
            // Nobody listens on the API at all.
            RequestErrorKind::NoResponders => Self::NoJetStream("nobody answers on its api".into()),
            RequestErrorKind::TimedOut => Self::NoAnswer("timed out".into()),
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => Self::NoAnswer(error.to_string()),
        }
    }
}

impl From<async_nats::jetstream::Error> for Trouble {
    fn from(error: async_nats::jetstream::Error) -> Self {
        match error.error_code() {
            ErrorCode::STREAM_NOT_FOUND => Self::Missing,
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                Self::NoJetStream(error.to_string())
            }
            _ if error.code() == 503 => Self::NoAnswer(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// The streams of a tenant.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    context: Context,
    patient: Context,
    names: Names,
    replicas: Option<u8>,
    max_bytes: u64,
    /// What the subjects of JetStream's own requests begin with.
    api: String,
}

impl Streams {
    pub(super) fn new(client: async_nats::Client, names: Names, replicas: Option<u8>, max_bytes: u64) -> Self {
        let context = |timeout| {
            let mut context = async_nats::jetstream::new(client.clone());
            context.set_timeout(timeout);
            context
        };
        Self {
            context: context(ASK_TIMEOUT),
            patient: context(CREATE_TIMEOUT),
            names,
            replicas,
            max_bytes,
            api: "$JS.API".to_owned(),
        }
    }

    /// The same in a JetStream domain, that of a hub behind the server that this node is connected to.
    pub(super) fn in_domain(self, domain: Option<&str>) -> Self {
        let Some(domain) = domain else { return self };
        let context = |timeout| {
            let mut context = async_nats::jetstream::with_domain(self.client(), domain);
            context.set_timeout(timeout);
            context
        };
        let api = format!("$JS.{domain}.API");
        Self { context: context(ASK_TIMEOUT), patient: context(CREATE_TIMEOUT), api, ..self }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn client(&self) -> async_nats::Client {
        self.context.client()
    }

    /// For what is answered at once.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// For what may take long.
    pub(super) fn patient(&self) -> &Context {
        &self.patient
    }

    /// How many replicas a stream has, as long as nothing is known of it. The server that this node is connected to may be a leaf node of
    /// those that keep it: then this is a guess.
    pub(super) fn expected_replicas(&self) -> u8 {
        let clustered = || self.client().try_server_info().is_some_and(|info| info.cluster.is_some());
        self.replicas.unwrap_or_else(|| if clustered() { CLUSTER_REPLICAS } else { 1 })
    }

    /// What people should know about how a log is kept.
    pub(super) fn note(&self, facts: &Facts) -> Option<String> {
        let found = facts.replicas;
        let wanted = self.replicas.unwrap_or(if facts.clustered { CLUSTER_REPLICAS } else { 1 });
        (found != wanted).then(|| format!("its stream has {found} replicas, and is used so; {wanted} are wanted"))
    }

    /// The numbers of replicas that are asked for, one after the other, until the servers have so many: what the configuration says, else
    /// three, and one where the servers that keep the streams are no cluster. Which ones these are only their answer says.
    pub(super) fn replicas_to_try(&self) -> impl Iterator<Item = u8> + use<> {
        let (first, then) = self.replicas.map_or((CLUSTER_REPLICAS, Some(1)), |wanted| (wanted, None));
        std::iter::once(first).chain(then)
    }

    /// How a log is, asked of its leader.
    pub(super) async fn facts(&self, shard: Shard) -> Result<Facts, Trouble> {
        self.facts_of(&self.names.stream(shard)).await
    }

    /// How a stream is, asked of its leader.
    pub(super) async fn facts_of(&self, stream: &str) -> Result<Facts, Trouble> {
        match self.context.request(format!("STREAM.INFO.{stream}"), &json!({})).await? {
            Response::Ok(info) => facts_of(&info),
            Response::Err { error } => Err(error.into()),
        }
    }

    /// Whether there is a bucket of snapshots.
    pub(super) async fn facts_of_bucket(&self) -> Result<(), Trouble> {
        self.facts_of(&self.names.stream_of_bucket()).await.map(drop)
    }

    /// Makes a log, whose first entry will have the sequence `first`. One that is there already stays as it is.
    pub(super) async fn create(&self, shard: Shard, first: u64) -> Result<Facts, Trouble> {
        let mut refused = Trouble::Missing;
        for replicas in self.replicas_to_try() {
            let config = self.config(shard, first, replicas);
            let subject = format!("STREAM.CREATE.{}", config.name);
            let error = match self.patient.request(subject, &config).await? {
                Response::Ok(info) => return facts_of(&info),
                Response::Err { error } => error,
            };
            // Another node was faster.
            if error.error_code() == ErrorCode::STREAM_NAME_EXIST {
                return self.facts(shard).await;
            }
            let alone = is_alone(&error);
            refused = match error.into() {
                Trouble::Refused(text) => Trouble::Refused(format!(
                    "a stream with {replicas} replicas: {text} ([ledger] replicas sets the number)"
                )),
                trouble => trouble,
            };
            if !alone {
                break;
            }
            tracing::info!(%shard, "the nats that keeps the log is one server: it is kept once, not {replicas} times");
        }
        Err(refused)
    }

    /// The message of an entry, from the leader; `None` when the log does not hold it.
    pub(super) async fn message(&self, shard: Shard, sequence: u64) -> Result<Option<Bytes>, Trouble> {
        Ok(self.entry(shard, sequence).await?.map(|entry| entry.payload))
    }

    /// An entry, from the leader; `None` when the log does not hold it.
    pub(super) async fn entry(&self, shard: Shard, sequence: u64) -> Result<Option<Delivered>, Trouble> {
        use async_nats::jetstream::stream::RawMessageErrorKind;
        match self.handle(shard).await?.get_raw_message(sequence).await {
            Ok(message) => {
                let time_ms = u64::try_from(message.time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
                Ok(Some(Delivered { sequence: message.sequence, time_ms, payload: message.payload, pending: 0 }))
            }
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::InvalidSubject
                | RawMessageErrorKind::JetStream(_)
                | RawMessageErrorKind::Other => Err(Trouble::NoAnswer(error.to_string())),
            },
        }
    }

    /// Removes the entries before `first`.
    pub(super) async fn purge(&self, shard: Shard, first: u64) -> Result<(), Trouble> {
        let purged = self.handle(shard).await?.purge().sequence(first).await;
        purged.map(drop).map_err(|error| Trouble::NoAnswer(error.to_string()))
    }

    /// The stream, without asking whether it is there.
    pub(super) async fn handle(&self, shard: Shard) -> Result<Stream<()>, Trouble> {
        let stream = self.context.get_stream_no_info(self.names.stream(shard)).await;
        stream.map_err(|error| Trouble::Refused(error.to_string()))
    }

    /// Where to ask that a consumer of a log be forgotten.
    pub(super) fn forget_subject(&self, shard: Shard, consumer: &str) -> String {
        format!("{}.CONSUMER.DELETE.{}.{consumer}", self.api, self.names.stream(shard))
    }

    fn config(&self, shard: Shard, first: u64, replicas: u8) -> stream::Config {
        stream::Config {
            name: self.names.stream(shard),
            description: Some(format!("spanwire: the log of {shard}")),
            subjects: vec![self.names.subject(shard)],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: usize::from(replicas),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_bytes: i64::try_from(self.max_bytes).unwrap_or(i64::MAX),
            max_message_size: i32::try_from(MAX_MESSAGE_BYTES).unwrap_or(i32::MAX),
            duplicate_window: DUPLICATE_WINDOW,
            deny_delete: true,
            allow_direct: true,
            first_sequence: (first > 1).then_some(first),
            metadata: HashMap::from([(IDENTITY.to_owned(), Uuid::new_v4().to_string())]),
            ..stream::Config::default()
        }
    }
}

/// Whether the servers have no replicas at all.
pub(super) fn is_alone(error: &async_nats::jetstream::Error) -> bool {
    error.error_code().0 == REPLICAS_NOT_SUPPORTED
}

fn facts_of(info: &Info) -> Result<Facts, Trouble> {
    let replicas = u8::try_from(info.config.num_replicas.max(1)).unwrap_or(u8::MAX);
    let writable = info.cluster.as_ref().is_none_or(|cluster| {
        let heard = cluster.replicas.iter().filter(|peer| !peer.offline && peer.active < REPLICA_SILENT).count();
        // The leader, who answered, is not in the list.
        cluster.leader.as_ref().is_some_and(|leader| !leader.is_empty()) && (heard + 1) * 2 > usize::from(replicas)
    });
    let identity = info.config.metadata.get(IDENTITY).cloned();
    Ok(Facts {
        identity: identity.unwrap_or_else(|| info.created.unix_timestamp_nanos().to_string()),
        first: info.state.first_sequence.max(1),
        last: info.state.last_sequence,
        bytes: info.state.bytes,
        replicas,
        // A server alone names itself as the leader, of nothing.
        clustered: info.cluster.as_ref().and_then(|cluster| cluster.name.as_ref()).is_some_and(|name| !name.is_empty()),
        writable,
    })
}
