//! What a node keeps on disk.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use spanwire_ledger::{Durability, SledStore};
use spanwire_model::NodeId;
use uuid::Uuid;

use crate::config::{self, Config, TOKEN_FILE};

/// The folder of the store, in the data folder.
pub(super) const STORE: &str = "store";

/// The file with the secret of this node's seal.
const SEAL_FILE: &str = "seal-secret";

/// The file with the id of a node whose configuration has none.
const NODE_FILE: &str = "node-id";

/// The folder for state, made if missing, for its owner only.
pub(super) fn data_dir(config: &Config) -> anyhow::Result<PathBuf> {
    let folder = config.data_dir();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(&folder).with_context(|| format!("cannot make the folder for state, {}", folder.display()))?;
    Ok(folder)
}

/// The configured id of this node, else the one that it had at its first start: it has servers and leases by that id, and containers get
/// another host name each time they are made.
pub(super) fn node_id(config: &Config, folder: &Path) -> anyhow::Result<NodeId> {
    let id = config.node_id()?;
    if config.node.id.is_some() {
        return Ok(id);
    }
    let path = folder.join(NODE_FILE);
    let context = || format!("cannot use the id of this node in {}", path.display());
    let wrong = || format!("{} is not the id of a node: correct it, or set node.id", path.display());
    match fs::read_to_string(&path) {
        // A start that was interrupted may have left it empty.
        Ok(kept) if !kept.trim().is_empty() => kept.trim().parse().with_context(wrong),
        Ok(_) => fs::write(&path, id.as_str()).map(|()| id).with_context(context),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::write(&path, id.as_str()).map(|()| id).with_context(context)
        }
        Err(error) => Err(error).with_context(context),
    }
}

/// The token that the command line on this machine shows to the control API.
pub(super) fn operator_token(folder: &Path) -> anyhow::Result<String> {
    secret_file(&folder.join(TOKEN_FILE), "the operator's token")
}

/// The secret with which this node seals what clients keep for servers: the configured one, else its own, which a restart keeps.
pub(super) fn seal_secret(config: &Config, folder: &Path) -> anyhow::Result<Vec<u8>> {
    match config.nats.as_ref().and_then(|nats| nats.seal_secret.as_ref()) {
        Some(secret) => Ok(secret.expose().as_bytes().to_vec()),
        None => Ok(secret_file(&folder.join(SEAL_FILE), "the secret of the seal")?.into_bytes()),
    }
}

/// A random secret in a file that only its owner can read; made when it is first needed.
fn secret_file(path: &Path, what: &str) -> anyhow::Result<String> {
    let context = || format!("cannot use {what} in {}", path.display());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
            file.write_all(token.as_bytes()).with_context(context)?;
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Ok(fs::read_to_string(path).with_context(context)?.trim().to_owned())
        }
        Err(error) => Err(error).with_context(context),
    }
}

/// The store of this node.
pub(super) fn store(config: &Config, folder: &Path) -> anyhow::Result<SledStore> {
    let durability = match config.ledger.durability {
        config::Durability::Process => Durability::Process,
        config::Durability::Disk => Durability::Disk,
    };
    SledStore::open_with(&folder.join(STORE), durability).context("is another node using the same data folder?")
}

#[cfg(test)]
mod tests;
