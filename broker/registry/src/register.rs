//! The registry's own log: what this node reads of it and writes to it.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use spanwire_mcp::Json;
use spanwire_model::{
    AgentPage, AgentQuery, Author, Command, Error, ErrorKind, Ledger, NodeId, Principal, Result, ServerId, Shard,
    ShardState,
};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use crate::machine::{self, Change, ServerRecord};

/// Longest that one attempt at a change may take; there are two.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A server and its record; `None` for one that cannot be read.
pub(crate) type Found = (ServerId, Option<ServerRecord>);

/// The registry's shard of the ledger, as this node sees it.
#[derive(Clone)]
pub(crate) struct Register {
    pub(crate) node: NodeId,
    /// See [`Config::owns_all`](crate::Config::owns_all).
    pub(crate) owns_all: bool,
    /// Who asks for what is appended.
    author: Author,
    ledger: Arc<dyn Ledger>,
}

impl Register {
    pub(crate) fn new(node: NodeId, owns_all: bool, ledger: Arc<dyn Ledger>) -> Self {
        let author = Author { principal: Principal::OPERATOR.into(), node: node.clone(), call: None, trace: None };
        Self { node, owns_all, author, ledger }
    }

    /// The same for somebody else than the operator, or in a call and a trace.
    pub(crate) fn on_behalf(&self, author: Author) -> Self {
        Self { author, ..self.clone() }
    }

    /// Appends a change, and returns its outcome.
    ///
    /// # Errors
    /// What the machine refused, and what the ledger fails with: `Unavailable` when it is out of reach, at once.
    pub(crate) async fn append(&self, operation: Uuid, change: &Change) -> Result<Json> {
        let body = Json::from_serialize(change).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let command = Command { operation, version: change.version(), author: self.author.clone(), body };
        let append = || self.ledger.append(Shard::REGISTRY, command.clone(), Instant::now() + APPEND_TIMEOUT);
        let receipt = match append().await {
            // It may be in the log: the same operation again finds out, and is applied once.
            Err(error) if error.kind == ErrorKind::DeadlineExceeded => append().await?,
            result => result?,
        };
        receipt.outcome.map_err(Error::from)
    }

    /// Appends a change, and reads its outcome.
    pub(crate) async fn change<T: DeserializeOwned>(&self, change: &Change) -> Result<T> {
        let outcome = self.append(Uuid::now_v7(), change).await?;
        let odd = |error: serde_json::Error| {
            Error::new(ErrorKind::Internal, "the registry answered in a form of its own").with_private(error)
        };
        outcome.read().map_err(odd)
    }

    /// All servers, in the order of their ids, and the last entry that this is read from.
    pub(crate) fn servers(&self) -> Result<(u64, Vec<Found>)> {
        let mut servers = (0, Vec::new());
        self.ledger.read(Shard::REGISTRY, &mut |view, sequence| {
            servers = (sequence, machine::servers(view)?);
            Ok(())
        })?;
        Ok(servers)
    }

    /// Whether what is read here follows the log. It does not while it is made anew, for one.
    pub(crate) fn is_following(&self) -> bool {
        let shards = self.ledger.status();
        shards.iter().any(|status| status.shard == Shard::REGISTRY && status.state == ShardState::Following)
    }

    /// A page of agents.
    pub(crate) fn agents(&self, query: &AgentQuery) -> Result<AgentPage> {
        let mut page = AgentPage::default();
        self.ledger.read(Shard::REGISTRY, &mut |view, _| {
            page = machine::agents(view, query)?;
            Ok(())
        })?;
        Ok(page)
    }

    /// How many agents there are.
    pub(crate) fn agent_count(&self) -> Result<u64> {
        let mut count = 0;
        self.ledger.read(Shard::REGISTRY, &mut |view, _| {
            count = machine::agent_count(view)?;
            Ok(())
        })?;
        Ok(count)
    }

    /// Tells when there is something new.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.ledger.applied(Shard::REGISTRY)
    }
}
