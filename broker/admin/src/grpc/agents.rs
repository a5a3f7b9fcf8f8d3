//! Agents: what is asked, and how they are told.

use bytes::Bytes;
use spanwire_mcp::Json;
use spanwire_model::{Agent, AgentId, AgentPage, AgentQuery, Error, ErrorKind, Result};
use spanwire_rpc::v1;

/// Agents of a page whose size was not said.
const DEFAULT_PAGE: usize = 100;

/// Most agents of a page.
const MAX_PAGE: usize = 1000;

/// Reads an id.
pub(super) fn id(text: &str) -> Result<AgentId> {
    text.parse().map_err(|error: spanwire_model::InvalidId| invalid(error.to_string()))
}

/// Reads a card, as far as it must be JSON.
pub(super) fn card(id: &AgentId, card: Bytes) -> Result<Json> {
    if card.is_empty() {
        return Err(invalid(format!("agent \"{id}\" has no card: give its A2A agent card, a JSON object")));
    }
    Json::parse(card).map_err(|error| invalid(format!("the card of agent \"{id}\" is not JSON: {error}")))
}

/// Reads which agents are asked for.
pub(super) fn query(request: &v1::ListAgentsRequest) -> Result<AgentQuery> {
    let optional = |text: &str| if text.is_empty() { Ok(None) } else { id(text).map(Some) };
    let limit = match request.limit as usize {
        0 => DEFAULT_PAGE,
        limit => limit.min(MAX_PAGE),
    };
    Ok(AgentQuery { id: optional(&request.id)?, after: optional(&request.after)?, limit })
}

/// A page as it is told.
pub(super) fn page(page: AgentPage) -> v1::ListAgentsResponse {
    v1::ListAgentsResponse {
        agents: page.agents.into_iter().map(info).collect(),
        next: page.next.map(|id| id.to_string()).unwrap_or_default(),
        total: page.total,
    }
}

fn info(agent: Agent) -> v1::AgentInfo {
    let id = agent.id.to_string();
    match agent.known {
        Some(known) => v1::AgentInfo {
            id,
            card_json: known.card.as_bytes().clone(),
            by: known.by.to_string(),
            node: known.node.to_string(),
            registered_unix_ms: known.time_ms,
            version: known.version,
            problem: String::new(),
        },
        None => v1::AgentInfo {
            id,
            problem: "it was registered in a form that this version cannot read".to_owned(),
            ..v1::AgentInfo::default()
        },
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParams, text.into())
}
