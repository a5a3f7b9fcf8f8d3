//! The servers of one node as they travel to its peers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spanwire_mcp::{Json, Revision};
use spanwire_model::{
    Health, ListKind, Listing, NodeId, Placed, ServerEntry, ServerFacts, ServerId, ServerState, Source,
};

/// Everything a peer needs to know of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeState {
    pub(crate) node: NodeId,
    pub(crate) beat: Beat,
    pub(crate) servers: Vec<WireServer>,
}

/// What a node says with each heartbeat: when it changes, the peers ask for the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// Another one for each start of the process.
    pub(crate) incarnation: u64,
    /// Counts up with every change of the node's servers.
    pub(crate) version: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireServer {
    id: ServerId,
    transport: Arc<str>,
    state: ServerState,
    detail: Option<Arc<str>>,
    restarts: u32,
    facts: Option<WireFacts>,
    listing: Arc<Listing>,
    call_timeout_ms: Option<u64>,
    #[serde(default)]
    source: Source,
    #[serde(default)]
    placed: Option<Placed>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WireFacts {
    revision: String,
    info: Json,
    capabilities: Json,
    instructions: Option<String>,
}

impl NodeState {
    /// The state as JSON. When it is longer than the limit, the longest listings are left out, and their servers say so: one
    /// server that lists too much must not hide the others from the peers.
    pub(crate) fn into_bytes(mut self, max_bytes: usize) -> serde_json::Result<Bytes> {
        loop {
            let bytes = serde_json::to_vec(&self)?;
            if bytes.len() <= max_bytes {
                return Ok(bytes.into());
            }
            let longest = self.servers.iter_mut().max_by_key(|server| listed_bytes(&server.listing));
            let Some(server) = longest.filter(|server| !server.listing.is_empty()) else { return Ok(bytes.into()) };
            tracing::warn!(server = %server.id, "lists too much for the other nodes");
            server.listing = Arc::new(Listing { private: server.listing.private, ..Listing::default() });
            server.detail = Some("lists too much for the other nodes: it can be called on its own node only".into());
        }
    }
}

fn listed_bytes(listing: &Listing) -> usize {
    ListKind::ALL.into_iter().flat_map(|kind| listing.of(kind)).map(|entry| entry.json.len()).sum()
}

impl From<&ServerEntry> for WireServer {
    fn from(entry: &ServerEntry) -> Self {
        Self {
            id: entry.id.clone(),
            transport: entry.transport.clone(),
            state: entry.health.state,
            detail: entry.health.detail.clone(),
            restarts: entry.health.restarts,
            facts: entry.facts.as_ref().map(|facts| WireFacts {
                revision: facts.revision.to_string(),
                info: facts.info.clone(),
                capabilities: facts.capabilities.clone(),
                instructions: facts.instructions.clone(),
            }),
            listing: entry.listing.clone(),
            call_timeout_ms: entry.call_timeout.and_then(|timeout| u64::try_from(timeout.as_millis()).ok()),
            source: entry.source,
            placed: entry.placed,
        }
    }
}

impl WireServer {
    pub(crate) fn into_entry(self, node: &NodeId) -> ServerEntry {
        ServerEntry {
            id: self.id,
            node: node.clone(),
            local: false,
            transport: self.transport,
            facts: self.facts.map(|facts| {
                Arc::new(ServerFacts {
                    // A peer of a newer version may speak a newer revision with its server; what it sends us is canonical.
                    revision: facts.revision.parse().unwrap_or(Revision::CANONICAL),
                    info: facts.info,
                    capabilities: facts.capabilities,
                    instructions: facts.instructions,
                })
            }),
            listing: self.listing,
            health: Health { state: self.state, detail: self.detail, restarts: self.restarts },
            call_timeout: self.call_timeout_ms.map(Duration::from_millis),
            source: self.source,
            placed: self.placed,
            load: 0,
        }
    }
}
