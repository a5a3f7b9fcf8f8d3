//! Servers and the node between the contract and the model.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use spanwire_mcp::Era;
use spanwire_model::{
    EraChoice, Error, ErrorKind, HttpTarget, Inventory, ListKind, Placement, Result, ServerEntry, ServerId, ServerSpec,
    ServerState, StdioTarget, Target,
};
use spanwire_rpc::v1;

use super::{cluster, whole_ms};
use crate::{Status, readiness};

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidParams, text)
}

/// Reads a server id.
pub(super) fn id(text: &str) -> Result<ServerId> {
    text.parse().map_err(|error: spanwire_model::InvalidId| invalid(error.to_string()))
}

/// Reads a spec. What only the registry can know, such as whether the program exists, is not checked here.
pub(super) fn spec(spec: Option<v1::ServerSpec>) -> Result<ServerSpec> {
    let spec = spec.ok_or_else(|| invalid("the request has no server spec"))?;
    let era = match spec.era() {
        v1::Era::Unspecified => EraChoice::Auto,
        v1::Era::Modern => EraChoice::Modern,
        v1::Era::Legacy => EraChoice::Legacy,
    };
    let id = id(&spec.id)?;
    let target = match spec.target {
        Some(v1::server_spec::Target::Stdio(stdio)) if stdio.command.trim().is_empty() => {
            return Err(invalid(format!("server \"{id}\" has no command")));
        }
        Some(v1::server_spec::Target::Stdio(stdio)) => Target::Stdio(StdioTarget {
            command: stdio.command,
            args: stdio.args,
            env: stdio.env,
            inherit_env: stdio.inherit_env,
            cwd: Some(stdio.cwd).filter(|cwd| !cwd.is_empty()),
        }),
        Some(v1::server_spec::Target::Http(http)) if http.url.trim().is_empty() => {
            return Err(invalid(format!("server \"{id}\" has no url")));
        }
        Some(v1::server_spec::Target::Http(http)) => Target::Http(HttpTarget { url: http.url, headers: http.headers }),
        None => return Err(invalid(format!("server \"{id}\" has neither a command nor a url"))),
    };
    Ok(ServerSpec {
        id,
        target,
        era,
        max_in_flight: Some(spec.max_in_flight as usize).filter(|max| *max > 0),
        call_timeout_ms: Some(spec.call_timeout_ms).filter(|timeout| *timeout > 0),
        placement: Placement::Here,
        replicas: 1,
    })
}

fn state(state: ServerState) -> v1::ServerState {
    match state {
        ServerState::Starting => v1::ServerState::Starting,
        ServerState::Ready => v1::ServerState::Ready,
        ServerState::Degraded => v1::ServerState::Degraded,
        ServerState::Down => v1::ServerState::Down,
        ServerState::Stopped => v1::ServerState::Stopped,
    }
}

fn count(server: &ServerEntry, kind: ListKind) -> u32 {
    u32::try_from(server.listing.of(kind).len()).unwrap_or(u32::MAX)
}

/// One server of the inventory.
pub(super) fn info(server: &ServerEntry) -> v1::ServerInfo {
    let facts = server.facts.as_deref();
    let said = |member: &str| {
        facts.and_then(|facts| facts.info.get(member)).and_then(|value| value.read::<String>().ok()).unwrap_or_default()
    };
    let era = match facts.map(|facts| facts.era()) {
        None => v1::Era::Unspecified,
        Some(Era::Modern) => v1::Era::Modern,
        Some(Era::Legacy) => v1::Era::Legacy,
    };
    v1::ServerInfo {
        id: server.id.to_string(),
        node: server.node.to_string(),
        local: server.local,
        transport: server.transport.to_string(),
        state: state(server.health.state).into(),
        detail: server.health.detail.as_deref().unwrap_or_default().to_owned(),
        restarts: server.health.restarts,
        era: era.into(),
        revision: facts.map(|facts| facts.revision.to_string()).unwrap_or_default(),
        name: said("name"),
        version: said("version"),
        tools: count(server, ListKind::Tools),
        prompts: count(server, ListKind::Prompts),
        resources: count(server, ListKind::Resources),
        templates: count(server, ListKind::Templates),
    }
}

/// All servers of the inventory, in its order.
pub(super) fn infos(inventory: &Inventory) -> Vec<v1::ServerInfo> {
    inventory.servers.iter().map(|server| info(server)).collect()
}

/// The inventory as a message of the watch.
pub(super) fn change(inventory: &Inventory) -> v1::CatalogChange {
    let mut callable: BTreeMap<&str, &Arc<ServerEntry>> = BTreeMap::new();
    for server in inventory.servers.iter().filter(|server| server.health.state.is_callable()) {
        if let Entry::Vacant(first) = callable.entry(server.id.as_str()) {
            first.insert(server);
        }
    }
    let total = |kind| callable.values().fold(0_u32, |sum, server| sum.saturating_add(count(server, kind)));
    v1::CatalogChange {
        version: inventory.version,
        servers: infos(inventory),
        nodes: nodes(inventory),
        tools: total(ListKind::Tools),
        prompts: total(ListKind::Prompts),
        resources: total(ListKind::Resources),
        templates: total(ListKind::Templates),
    }
}

fn nodes(inventory: &Inventory) -> Vec<String> {
    let mut nodes: Vec<String> = inventory.nodes.iter().map(|node| node.id.to_string()).collect();
    nodes.sort();
    nodes
}

/// The node's status with what the inventory adds to it.
pub(super) fn status(status: Status, inventory: &Inventory) -> v1::StatusResponse {
    let missing = readiness::missing(&status, inventory);
    let mut states: BTreeMap<i32, u32> = BTreeMap::new();
    for server in &inventory.servers {
        *states.entry(state(server.health.state).into()).or_default() += 1;
    }
    let telemetry = status.telemetry;
    v1::StatusResponse {
        node: status.node.to_string(),
        version: status.version,
        uptime_ms: whole_ms(status.uptime),
        listeners: status
            .listeners
            .into_iter()
            .map(|listener| v1::Listener {
                name: listener.name,
                address: listener.address,
                era: listener.era.map_or_else(String::new, |era| era.as_str().to_owned()),
            })
            .collect(),
        backbone: status.backbone,
        backbone_connected: status.backbone_connected,
        nodes: nodes(inventory),
        in_flight: status.in_flight,
        sessions: status.sessions,
        servers: states.into_iter().map(|(state, count)| v1::StateCount { state, count }).collect(),
        telemetry: Some(v1::TelemetryStatus {
            endpoint: telemetry.endpoint.unwrap_or_default(),
            exported: telemetry.exported,
            failed: telemetry.failed,
            dropped: telemetry.dropped,
            held: telemetry.held,
        }),
        ready: missing.is_empty(),
        missing,
        node_states: cluster::nodes(inventory),
        leases: cluster::leases(&status.leases),
        ledger: status.ledger.to_owned(),
        shards: status.shards.iter().map(cluster::shard).collect(),
    }
}
