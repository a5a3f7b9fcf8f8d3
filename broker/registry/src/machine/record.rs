//! What the view of the registry holds: `server/{id}` and `agent/{id}`, each a JSON object.

use std::{fmt::Display, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use spanwire_mcp::Json;
use spanwire_model::{
    Entry, Error, ErrorKind, KnownAgent, NodeId, Placement, Result, ServerId, StoreError, View, ViewMut,
};

/// Prefix of the keys of servers.
pub(crate) const SERVERS: &str = "server/";
/// Prefix of the keys of agents.
pub(crate) const AGENTS: &str = "agent/";

/// Records read from the view at a time.
const PAGE: usize = 256;

/// A page that is asked for ends when its records have so many bytes.
pub(super) const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Records of such a page that are read at a time: the most that it can be too long by.
const PIECE: usize = 16;

/// Records by their ids, and the last id when more may follow. One that cannot be read by this version is `None`.
type Page<K, R> = (Vec<(K, Option<R>)>, Option<K>);

/// A server that was registered. `${VAR}` in its specification is resolved by the node that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    /// The specification as it came.
    pub(crate) spec: Json,
    /// The node that runs it, with the placement `here`.
    pub(crate) home: Option<NodeId>,
    pub(crate) written: Written,
}

/// An agent that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentRecord {
    /// What it says of itself: a JSON object.
    pub(crate) card: Json,
    pub(crate) written: Written,
}

/// Who wrote a record, in which call, and where in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) principal: Arc<str>,
    pub(crate) node: NodeId,
    pub(crate) call: Option<String>,
    /// The span that wrote it, as a `traceparent`.
    pub(crate) trace: Option<String>,
    /// The entry that wrote it: the record's version.
    pub(crate) sequence: u64,
    /// The log's time.
    pub(crate) time_ms: u64,
}

/// What is told of a record to somebody whose command it stood against: nothing of the specification, which may hold secrets.
#[derive(Debug, Serialize)]
pub(super) struct About<'a> {
    home: Option<&'a NodeId>,
    by: &'a str,
    version: u64,
}

/// The same of an agent.
#[derive(Debug, Serialize)]
pub(super) struct AboutAgent<'a> {
    by: &'a str,
    version: u64,
}

impl Written {
    pub(super) fn by(entry: &Entry) -> Self {
        let author = &entry.command.author;
        Self {
            principal: author.principal.clone(),
            node: author.node.clone(),
            call: author.call.map(|call| call.to_string()),
            trace: author.trace.as_ref().map(|trace| trace.traceparent()),
            sequence: entry.sequence,
            time_ms: entry.time_ms,
        }
    }
}

impl ServerRecord {
    /// The record of a server: `None` when there is none, `Some(None)` when it cannot be read.
    pub(super) fn get(view: &dyn ViewMut, id: &ServerId) -> Result<Option<Option<Self>>, StoreError> {
        let value = view.get(format!("{SERVERS}{id}").as_bytes())?;
        Ok(value.map(|value| serde_json::from_slice(&value).ok()))
    }

    pub(super) fn about(&self) -> About<'_> {
        About { home: self.home.as_ref(), by: &self.written.principal, version: self.written.sequence }
    }

    /// On which nodes it may run, and on how many.
    pub(crate) fn placement(&self) -> (Placement, u16) {
        match &self.home {
            Some(_) => (Placement::Here, 1),
            None => (Placement::Any, self.spec.get("replicas").and_then(|number| number.read().ok()).unwrap_or(1)),
        }
    }
}

impl AgentRecord {
    /// The record of an agent: `None` when there is none, `Some(None)` when it cannot be read.
    pub(super) fn get(view: &dyn ViewMut, id: &str) -> Result<Option<Option<Self>>, StoreError> {
        let value = view.get(format!("{AGENTS}{id}").as_bytes())?;
        Ok(value.map(|value| serde_json::from_slice(&value).ok()))
    }

    pub(super) fn about(&self) -> AboutAgent<'_> {
        AboutAgent { by: &self.written.principal, version: self.written.sequence }
    }

    /// As others are told of it.
    pub(super) fn known(self) -> KnownAgent {
        let Written { principal, node, sequence, time_ms, .. } = self.written;
        KnownAgent { card: self.card, by: principal, node, time_ms, version: sequence }
    }
}

/// One record, if it is there.
pub(super) fn one<K: Clone + Display, R: DeserializeOwned>(
    view: &dyn View,
    prefix: &str,
    id: &K,
) -> Result<Option<(K, Option<R>)>> {
    let value = view.get(format!("{prefix}{id}").as_bytes()).map_err(failed)?;
    Ok(value.map(|value| (id.clone(), serde_json::from_slice(&value).ok())))
}

/// Records under a prefix, after one of them or from the first, at most `limit`, and the last of them when more may follow.
pub(super) fn page<K: Clone + Display + FromStr, R: DeserializeOwned>(
    view: &dyn View,
    prefix: &str,
    after: Option<&K>,
    limit: usize,
) -> Result<Page<K, R>> {
    let mut records: Vec<(K, Option<R>)> = Vec::new();
    let mut after = after.map(|id| format!("{prefix}{id}").into_bytes());
    let mut bytes = 0;
    while records.len() < limit && bytes < MAX_PAGE_BYTES {
        let wanted = PIECE.min(limit - records.len());
        let piece = view.scan(prefix.as_bytes(), after.as_deref(), wanted).map_err(failed)?;
        let is_last = piece.len() < wanted;
        after = piece.last().map(|(key, _)| key.clone());
        bytes += piece.iter().map(|(_, value)| value.len()).sum::<usize>();
        records.extend(piece.into_iter().filter_map(|(key, value)| read(prefix, &key, &value)));
        if is_last {
            return Ok((records, None));
        }
    }
    let next = records.last().map(|(id, _)| id.clone());
    Ok((records, next))
}

/// One record under a prefix; `None` for a key that is no id.
fn read<K: FromStr, R: DeserializeOwned>(prefix: &str, key: &[u8], value: &[u8]) -> Option<(K, Option<R>)> {
    let id = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?.parse().ok()?;
    Some((id, serde_json::from_slice(value).ok()))
}

/// All records under a prefix. One that cannot be read by this version is `None`.
pub(super) fn scan<K: FromStr, R: DeserializeOwned>(view: &dyn View, prefix: &str) -> Result<Vec<(K, Option<R>)>> {
    let mut records = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = view.scan(prefix.as_bytes(), after.as_deref(), PAGE).map_err(failed)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        records.extend(page.into_iter().filter_map(|(key, value)| read(prefix, &key, &value)));
        if is_last {
            return Ok(records);
        }
    }
}

pub(super) fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Internal, "the view of the registry cannot be read").with_private(error)
}
