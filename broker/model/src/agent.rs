//! Agents that were registered.

use std::sync::Arc;

use spanwire_mcp::Json;

use crate::{AgentId, NodeId};

/// An agent that was registered, for all nodes and over their restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// What is known of it; `None` when a newer version of the program wrote it in a form that this one cannot read.
    pub known: Option<KnownAgent>,
}

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAgent {
    /// Its A2A agent card: a JSON object, as it came. Not secret.
    pub card: Json,
    /// The principal that registered it, or changed its card last.
    pub by: Arc<str>,
    /// The node that took it in.
    pub node: NodeId,
    /// When, in milliseconds since 1970, by the registry's log.
    pub time_ms: u64,
    /// The entry of the registry's log that wrote it.
    pub version: u64,
}

/// Which agents are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentQuery {
    /// Only this one.
    pub id: Option<AgentId>,
    /// Only those whose ids come after this.
    pub after: Option<AgentId>,
    /// How many at most. Fewer come when their cards are large.
    pub limit: usize,
}

/// A page of agents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentPage {
    /// The agents, in the order of their ids.
    pub agents: Vec<Agent>,
    /// The last one of this page, when more may come after it.
    pub next: Option<AgentId>,
    /// How many are registered, those that were not asked for included.
    pub total: u64,
}
