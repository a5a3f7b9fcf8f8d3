//! What a node keeps on disk.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use spanwire_ledger::{Durability, SledStore};
use uuid::Uuid;

use crate::config::{self, Config, TOKEN_FILE};

/// The folder of the store, in the data folder.
pub(super) const STORE: &str = "store";

/// The file with the secret of this node's seal.
const SEAL_FILE: &str = "seal-secret";

/// The folder for state, made if missing, for its owner only.
pub(super) fn data_dir(config: &Config) -> anyhow::Result<PathBuf> {
    let folder = config.data_dir();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(&folder).with_context(|| format!("cannot make the folder for state, {}", folder.display()))?;
    Ok(folder)
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
