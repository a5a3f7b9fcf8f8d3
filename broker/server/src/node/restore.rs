//! What a backup holds, put where nothing is.

use std::{fs::File, io::BufReader, path::Path};

use anyhow::{Context, ensure};
use spanwire_ledger::Backup;

use super::{connection, durable, files};
use crate::config::{Config, LedgerStore};

/// Makes the store of this node from a backup. The node must not run, and must have no store yet.
pub(crate) async fn restore(config: &Config, file: &Path) -> anyhow::Result<Backup> {
    let folder = files::data_dir(config)?.join(files::STORE);
    let restored = spanwire_ledger::restore(file, &folder, &durable::machines()).await;
    let restored = restored.with_context(|| format!("cannot restore {}", file.display()))?;
    if config.nats.is_some() && config.ledger.store != LedgerStore::Local {
        tracing::warn!("this node will follow the logs of its cluster: what it restored gives way to them");
    }
    Ok(restored)
}

/// Makes the logs of a cluster that has none from a backup.
pub(crate) async fn restore_cluster(config: &Config, file: &Path) -> anyhow::Result<Backup> {
    let context = || format!("cannot restore {}", file.display());
    let nats = config.nats.as_ref().context("no NATS server is named")?;
    let backup = spanwire_ledger::inspect(BufReader::new(File::open(file).with_context(context)?));
    let backup = backup.with_context(context)?;
    let known = durable::machines();
    ensure!(backup.shards.iter().all(|(shard, _)| known.contains_key(&shard.book)), "{}: a book is unknown", context());
    let folder = tempfile::tempdir().context("cannot make a folder for the snapshots")?;
    let parts = spanwire_ledger::split(BufReader::new(File::open(file)?), folder.path()).with_context(context)?;
    let node = config.node_id()?;
    let settings = connection::settings(nats, config.node.tenant.clone(), &node);
    let settings = spanwire_nats::Config { connect_in_background: false, ..settings };
    let connection = spanwire_nats::connect(&settings).await.context("cannot reach NATS")?;
    let tenant = config.node.tenant.clone();
    let replicas = config.ledger.replicas;
    let (client, domain) = (connection.client.clone(), nats.jetstream_domain.as_deref());
    let made = spanwire_ledger::restore_into_streams(client, tenant, &nats.prefix, domain, replicas, &parts);
    made.await.with_context(context)?;
    Ok(backup)
}
