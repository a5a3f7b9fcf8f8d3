//! What the registry keeps in the store: `era/{id}`, and what older versions kept there: `server/{id}`.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{Deserialize, Serialize};
use spanwire_mcp::Era;
use spanwire_model::{Error, ErrorKind, Result, ServerId, ServerSpec, Store, StoreError, Target, Write};

const SERVERS: &str = "server/";
const ERAS: &str = "era/";

/// The era that a server was found to be of, and for which target that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownEra {
    pub(crate) target: String,
    modern: bool,
}

impl KnownEra {
    pub(crate) fn new(target: String, era: Era) -> Self {
        Self { target, modern: era == Era::Modern }
    }

    pub(crate) fn era(&self) -> Era {
        if self.modern { Era::Modern } else { Era::Legacy }
    }
}

/// Changes when the era must be found again. Holds nothing secret: a digest of the program or URL.
pub(crate) fn target_digest(spec: &ServerSpec) -> String {
    let mut hasher = DefaultHasher::new();
    match &spec.target {
        Target::Builtin(name) => name.hash(&mut hasher),
        Target::Stdio(target) => (&target.command, &target.args, &target.cwd).hash(&mut hasher),
        Target::Http(target) => target.url.hash(&mut hasher),
    }
    format!("{:016x}", hasher.finish())
}

pub(crate) fn server_key(id: &ServerId) -> Vec<u8> {
    format!("{SERVERS}{id}").into_bytes()
}

pub(crate) fn era_key(id: &ServerId) -> Vec<u8> {
    format!("{ERAS}{id}").into_bytes()
}

pub(crate) fn put_era(id: &ServerId, known: &KnownEra) -> Write {
    Write::Put { key: era_key(id), value: serde_json::to_vec(known).unwrap_or_default() }
}

/// The servers that an older version remembered. One that cannot be read is left out with an error in the log, and stays in the store.
pub(crate) fn servers(store: &dyn Store) -> Result<Vec<ServerSpec>> {
    let entries = store.scan(SERVERS.as_bytes()).map_err(failed)?;
    Ok(entries
        .into_iter()
        .filter_map(|(key, value)| match serde_json::from_slice(&value) {
            Ok(spec) => Some(spec),
            Err(error) => {
                tracing::error!(key = %String::from_utf8_lossy(&key), "a stored server cannot be read: {error}");
                None
            }
        })
        .collect())
}

/// The remembered eras. They are a cache: one that cannot be read is found again.
pub(crate) fn eras(store: &dyn Store) -> Result<HashMap<ServerId, KnownEra>> {
    let entries = store.scan(ERAS.as_bytes()).map_err(failed)?;
    Ok(entries
        .into_iter()
        .filter_map(|(key, value)| {
            let id = std::str::from_utf8(&key).ok()?.strip_prefix(ERAS)?.parse().ok()?;
            Some((id, serde_json::from_slice(&value).ok()?))
        })
        .collect())
}

pub(crate) fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Internal, "the store of this node failed").with_private(error)
}
