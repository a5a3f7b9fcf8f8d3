//! Snapshots in the object store, where every node finds them: through files, never whole in memory.

use std::{path::Path, time::Duration};

use async_nats::jetstream::{
    context::{CreateKeyValueErrorKind, CreateObjectStoreError, CreateStreamError, CreateStreamErrorKind},
    object_store::{self, ObjectMetadata, ObjectStore},
    stream::StorageType,
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use spanwire_model::Shard;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    names::Names,
    streams::{self, Streams, Trouble},
};

/// Bytes of a message of the object store.
const CHUNK_BYTES: usize = 128 * 1024;
/// How long the store may be silent while something is read from it.
const SILENCE: Duration = Duration::from_secs(10);
/// How long an upload may take.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// Objects that are looked at, at most.
const MAX_OBJECTS: usize = 1000;

/// The bucket of a tenant.
#[derive(Clone)]
pub(super) struct Bucket(ObjectStore);

impl Bucket {
    /// Opens the bucket; `None` when there is none yet.
    pub(super) async fn open(streams: &Streams) -> Result<Option<Self>, Trouble> {
        let bucket = streams.names().bucket();
        match streams.facts_of_bucket().await {
            Err(Trouble::Missing) => return Ok(None),
            Err(trouble) => return Err(trouble),
            Ok(()) => {}
        }
        let opened = streams.patient().get_object_store(&bucket).await;
        opened.map(|store| Some(Self(store))).map_err(|error| Trouble::NoAnswer(error.to_string()))
    }

    /// Opens the bucket, and makes it when there is none.
    pub(super) async fn open_or_create(streams: &Streams) -> Result<Self, Trouble> {
        if let Some(bucket) = Self::open(streams).await? {
            return Ok(bucket);
        }
        let mut refused = Trouble::Missing;
        for replicas in streams.replicas_to_try() {
            let config = object_store::Config {
                bucket: streams.names().bucket(),
                description: Some("spanwire: snapshots of the ledger".to_owned()),
                storage: StorageType::File,
                num_replicas: usize::from(replicas),
                ..object_store::Config::default()
            };
            let error = match streams.patient().create_object_store(config).await {
                Ok(store) => return Ok(Self(store)),
                Err(error) => error,
            };
            if is_alone(&error) {
                refused = Trouble::Refused(format!("a bucket with {replicas} replicas: {error}"));
                continue;
            }
            return match error.kind() {
                // Another node may have been faster.
                CreateKeyValueErrorKind::BucketCreate => {
                    Self::open(streams).await?.ok_or_else(|| Trouble::Refused(error.to_string()))
                }
                CreateKeyValueErrorKind::InvalidStoreName
                | CreateKeyValueErrorKind::TooLongHistory
                | CreateKeyValueErrorKind::JetStream
                | CreateKeyValueErrorKind::TimedOut
                | CreateKeyValueErrorKind::LimitMarkersNotSupported => Err(Trouble::NoAnswer(error.to_string())),
            };
        }
        Err(refused)
    }

    /// The sequences of a shard's snapshots, newest first.
    pub(super) async fn sequences(&self, shard: Shard) -> Result<Vec<u64>, Trouble> {
        let list = async {
            let mut list = self.0.list().await.map_err(|error| Trouble::NoAnswer(error.to_string()))?;
            let mut sequences = Vec::new();
            while let Some(object) = list.next().await {
                let object = object.map_err(|error| Trouble::NoAnswer(error.to_string()))?;
                sequences.extend(Names::sequence_of(shard, &object.name).filter(|_| !object.deleted));
                if sequences.len() >= MAX_OBJECTS {
                    break;
                }
            }
            sequences.sort_unstable_by(|a, b| b.cmp(a));
            Ok(sequences)
        };
        within(SILENCE, list).await
    }

    /// Puts a file there, and reads it again from the store to see that it is the same.
    pub(super) async fn put(&self, shard: Shard, sequence: u64, file: &Path) -> Result<(), Trouble> {
        let name = Names::object(shard, sequence);
        let mut local = File::open(file).await.map_err(|error| local_trouble(&error))?;
        let wanted = digest(&mut local).await?;
        let mut local = File::open(file).await.map_err(|error| local_trouble(&error))?;
        let meta = ObjectMetadata {
            name: name.clone(),
            description: Some(format!("{shard} after entry {sequence}")),
            chunk_size: Some(CHUNK_BYTES),
            ..ObjectMetadata::default()
        };
        let upload = async {
            let put = self.0.put(meta, &mut local).await;
            put.map_err(|error| Trouble::NoAnswer(format!("snapshot {name}: {error}")))
        };
        within(UPLOAD_TIMEOUT, Box::pin(upload)).await?;
        let mut stored = self.object(&name).await?;
        if digest(&mut stored).await? == wanted {
            return Ok(());
        }
        Err(Trouble::Refused(format!("snapshot {name} is not what was written")))
    }

    /// Copies a snapshot into a file.
    pub(super) async fn get(&self, shard: Shard, sequence: u64, file: &Path) -> Result<(), Trouble> {
        let mut object = self.object(&Names::object(shard, sequence)).await?;
        let mut local = File::create(file).await.map_err(|error| local_trouble(&error))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = read(&mut object, &mut buffer).await?;
            if count == 0 {
                break;
            }
            local.write_all(&buffer[..count]).await.map_err(|error| local_trouble(&error))?;
        }
        local.flush().await.map_err(|error| local_trouble(&error))
    }

    /// Removes a snapshot, and the mark that the store puts in its place.
    pub(super) async fn delete(&self, streams: &Streams, shard: Shard, sequence: u64) -> Result<(), Trouble> {
        let name = Names::object(shard, sequence);
        let delete = async { self.0.delete(&name).await.map_err(|error| Trouble::NoAnswer(error.to_string())) };
        within(SILENCE, delete).await?;
        let bucket = streams.names().bucket();
        let mark = format!("$O.{bucket}.M.{}", URL_SAFE.encode(&name));
        let stream = streams.context().get_stream_no_info(format!("OBJ_{bucket}")).await;
        let stream = stream.map_err(|error| Trouble::Refused(error.to_string()))?;
        let purged = stream.purge().filter(mark).await;
        purged.map(drop).map_err(|error| Trouble::NoAnswer(error.to_string()))
    }

    async fn object(&self, name: &str) -> Result<object_store::Object, Trouble> {
        let get =
            async { self.0.get(name).await.map_err(|error| Trouble::NoAnswer(format!("snapshot {name}: {error}"))) };
        within(SILENCE, get).await
    }
}

/// Whether it was refused since the servers have no replicas at all.
fn is_alone(error: &CreateObjectStoreError) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<CreateStreamError>());
    match cause.map(CreateStreamError::kind) {
        Some(CreateStreamErrorKind::JetStream(cause)) => streams::is_alone(&cause),
        Some(_) | None => false,
    }
}

async fn digest(reader: &mut (impl AsyncRead + Unpin)) -> Result<[u8; 32], Trouble> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match read(reader, &mut buffer).await? {
            0 => return Ok(hasher.finalize().into()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<usize, Trouble> {
    within(SILENCE, async { reader.read(buffer).await.map_err(|error| Trouble::NoAnswer(error.to_string())) }).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(Trouble::NoAnswer("the object store is silent".into())))
}

fn local_trouble(error: &std::io::Error) -> Trouble {
    Trouble::Refused(format!("a file for a snapshot: {error}"))
}
