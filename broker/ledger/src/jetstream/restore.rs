//! A cluster from a backup: snapshots in the object store, and streams that continue them.

use std::path::{Path, PathBuf};

use spanwire_model::{Error, ErrorKind, Result, Shard, Tenant};

use super::{
    LOG_BYTES,
    bucket::Bucket,
    names::Names,
    streams::{Streams, Trouble},
};

/// Puts snapshots into a cluster that has no streams of the tenant, so that its nodes begin with them. Each snapshot is the shard, the
/// last entry that it holds, and a file in the form that [`Applier::snapshot`](crate::applier::Applier::snapshot) writes. `domain` is the
/// JetStream domain of the streams; `None` for that of the server that the client is connected to.
///
/// # Errors
/// `Conflict` when a stream or the bucket of snapshots is there; `Unavailable` when NATS does not do it.
pub async fn restore_into_streams(
    client: async_nats::Client,
    tenant: Tenant,
    prefix: &str,
    domain: Option<&str>,
    replicas: Option<u8>,
    snapshots: &[(Shard, u64, PathBuf)],
) -> Result<()> {
    let streams = Streams::new(client, Names::new(tenant, prefix), replicas, LOG_BYTES).in_domain(domain);
    for shard in Shard::all() {
        match streams.facts(shard).await {
            Err(Trouble::Missing) => {}
            Err(trouble) => return Err(unavailable(&trouble)),
            Ok(_) => return Err(there(&format!("stream {}", streams.names().stream(shard)))),
        }
    }
    if Bucket::open(&streams).await.map_err(|trouble| unavailable(&trouble))?.is_some() {
        return Err(there(&format!("object store {}", streams.names().bucket())));
    }
    for (shard, sequence, file) in snapshots {
        one(&streams, *shard, *sequence, file).await.map_err(|trouble| unavailable(&trouble))?;
    }
    Ok(())
}

/// The snapshot first: nodes that find the stream find it too.
async fn one(streams: &Streams, shard: Shard, sequence: u64, file: &Path) -> Result<(), Trouble> {
    if sequence > 0 {
        Bucket::open_or_create(streams).await?.put(shard, sequence, file).await?;
    }
    let facts = streams.create(shard, sequence + 1).await?;
    if facts.first == sequence + 1 && facts.last == sequence {
        return Ok(());
    }
    Err(Trouble::Refused(format!("the log of {shard} was made by somebody else meanwhile")))
}

fn there(what: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("{what} is there already: restore into a cluster without one, or delete it first"),
    )
}

fn unavailable(trouble: &Trouble) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot restore into jetstream: {trouble}"))
}
