//! Servers and the node between the contract and the model.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use spanwire_mcp::Era;
use spanwire_model::{
    EraChoice, Error, ErrorKind, HttpTarget, Inventory, ListKind, NodeId, Placement, Result, ServerEntry, ServerId,
    ServerSpec, ServerState, Source, StdioTarget, Target, Wanted,
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
    let (placement, replicas) = placement(&spec)?;
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
        placement,
        replicas,
    })
}

/// Reads where a server is to be placed; empty is the node that is asked.
pub(super) fn home(node: &str) -> Result<Option<NodeId>> {
    if node.is_empty() {
        return Ok(None);
    }
    node.parse().map(Some).map_err(|error: spanwire_model::InvalidId| invalid(error.to_string()))
}

fn placement(spec: &v1::ServerSpec) -> Result<(Placement, u16)> {
    let placement = match spec.placement() {
        v1::Placement::Unspecified | v1::Placement::Here => Placement::Here,
        v1::Placement::Any => Placement::Any,
    };
    let replicas = spec.replicas.max(1);
    let replicas = u16::try_from(replicas).map_err(|_| invalid(format!("{replicas} replicas are too many")))?;
    if placement == Placement::Here && replicas > 1 {
        return Err(invalid("a server has replicas only with the placement \"any\""));
    }
    Ok((placement, replicas))
}

fn shown_placement(placement: Placement) -> v1::Placement {
    match placement {
        Placement::Here => v1::Placement::Here,
        Placement::Any => v1::Placement::Any,
    }
}

fn source(source: Source) -> v1::Source {
    match source {
        Source::Config => v1::Source::Config,
        Source::Registry => v1::Source::Registry,
        Source::Builtin => v1::Source::Builtin,
    }
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
        source: source(server.source).into(),
        placement: shown_placement(if server.placed.is_some() { Placement::Any } else { Placement::Here }).into(),
        replica: server.placed.map_or(0, |placed| placed.replica.into()),
        token: server.placed.map_or(0, |placed| placed.token),
        load: server.load,
    }
}

/// What is to run somewhere, with what the inventory knows of it.
pub(super) fn wanted(inventory: &Inventory) -> Vec<v1::WantedServer> {
    inventory.wanted.iter().map(|wanted| wanted_server(wanted, inventory)).collect()
}

fn wanted_server(wanted: &Wanted, inventory: &Inventory) -> v1::WantedServer {
    let is_for = |server: &ServerEntry| match &wanted.home {
        Some(home) => server.node == *home && server.placed.is_none(),
        None => server.placed.is_some(),
    };
    // Beside a record that may run there, the node's own configuration has the id.
    let is_shadow = |server: &ServerEntry| {
        let is_there = wanted.home.as_ref().is_none_or(|home| server.node == *home);
        wanted.source == Source::Registry && server.source != Source::Registry && server.placed.is_none() && is_there
    };
    let servers = || inventory.servers.iter().filter(|server| server.id == wanted.id);
    let runs = |server: &&Arc<ServerEntry>| server.health.state.is_callable() && is_for(server) && !is_shadow(server);
    v1::WantedServer {
        id: wanted.id.to_string(),
        source: source(wanted.source).into(),
        placement: shown_placement(wanted.placement).into(),
        replicas: wanted.replicas.into(),
        running: u32::try_from(servers().filter(runs).count()).unwrap_or(u32::MAX),
        home: wanted.home.as_ref().map(|home| home.to_string()).unwrap_or_default(),
        by: wanted.by.to_string(),
        version: wanted.version,
        shadowed_on: servers().filter(|server| is_shadow(server)).map(|server| server.node.to_string()).collect(),
        problem: wanted.problem.as_deref().unwrap_or_default().to_owned(),
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
        agents: status.agents,
        registered_servers: inventory.wanted.iter().filter(|wanted| wanted.source == Source::Registry).count() as u64,
    }
}
