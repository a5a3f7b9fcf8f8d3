//! Whether each server starts: asked of the running node, or tried on a node of our own that is gone afterwards.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use spanwire_model::{ServerEntry, ServerId, ServerState};
use spanwire_rpc::v1::{self, ListServersRequest, ServerInfo};
use tokio::time::timeout;

use super::Finding;
use crate::{
    client::Broker,
    config::{Config, Source},
    demo::TemporaryFolder,
    node,
    output::{count, first_line},
};

const MAX_DETAIL: usize = 200;
/// On top of the servers' own time to start.
const SLACK: Duration = Duration::from_secs(5);
const ADVICE: &str = "run its command by hand and read what it says; \"spanwire up\" shows its log";

pub(super) async fn of_running(broker: &mut Broker, findings: &mut Vec<Finding>) {
    match broker.list_servers(ListServersRequest {}).await {
        Ok(list) => findings.extend(list.into_inner().servers.iter().map(of_info)),
        Err(status) => findings.push(Finding::fail("servers", status.message(), "see the log of the node")),
    }
}

fn of_info(server: &ServerInfo) -> Finding {
    let check = format!("server {} on {}", server.id, server.node);
    let detail = first_line(&server.detail, MAX_DETAIL);
    match server.state() {
        v1::ServerState::Ready => Finding::ok(check, format!("ready, {}", count(server.tools as usize, "tool"))),
        v1::ServerState::Degraded => {
            Finding::warn(check, detail, "a part of what it lists is missing: tell its author")
        }
        v1::ServerState::Starting => Finding::warn(check, "still starting", "ask again"),
        v1::ServerState::Down => Finding::fail(check, detail, ADVICE),
        v1::ServerState::Stopped | v1::ServerState::Unspecified => Finding::warn(check, "stopped", ""),
    }
}

/// Starts the configured servers on a node without backbone or export, with its own folder and free ports.
pub(super) async fn in_trial(config: &Config, findings: &mut Vec<Finding>) {
    if config.servers.values().all(|server| !server.enabled) {
        findings.push(Finding::warn("servers", "none", "\"spanwire import FILE\" takes over those that you have"));
        return;
    }
    if let Err(error) = trial(config, findings).await {
        findings.push(Finding::warn("servers", format!("could not be tried: {error:#}"), "\"spanwire up\" says more"));
    }
}

async fn trial(config: &Config, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let folder = TemporaryFolder::new("doctor")?;
    let mut trial = config.clone();
    trial.node.data_dir = Some(folder.path().to_owned());
    trial.listen.http = (Ipv4Addr::LOCALHOST, 0).into();
    trial.listen.grpc = (Ipv4Addr::LOCALHOST, 0).into();
    trial.nats = None;
    trial.context.expose = false;
    trial.telemetry.otlp_endpoint = None;
    trial.telemetry.log_filter = "off".to_owned();
    // Nothing of a trial is read again when the file changes.
    trial.source = Source::default();
    let patience = Duration::from_millis(config.limits.start_timeout_ms) + SLACK;
    let node = node::start(trial).await?;
    let mut inventory = node.inventory.clone();
    let settled = |entries: &BTreeMap<ServerId, ServerState>| {
        let enabled = config.servers.iter().filter(|(_, server)| server.enabled);
        enabled.map(|(id, _)| id).all(|id| entries.get(id).is_some_and(|state| *state != ServerState::Starting))
    };
    let states = |entries: &[std::sync::Arc<ServerEntry>]| {
        entries.iter().map(|entry| (entry.id.clone(), entry.health.state)).collect::<BTreeMap<_, _>>()
    };
    // Either way the inventory below says how far each server came.
    let _ = timeout(patience, inventory.wait_for(|now| settled(&states(&now.servers)))).await;
    let last = node.inventory.borrow().clone();
    findings.extend(last.servers.iter().map(|entry| of_entry(entry)));
    node.shutdown().await;
    Ok(())
}

fn of_entry(server: &ServerEntry) -> Finding {
    let check = format!("server {}", server.id);
    let detail = first_line(server.health.detail.as_deref().unwrap_or_default(), MAX_DETAIL);
    match server.health.state {
        ServerState::Ready => Finding::ok(check, format!("starts, {}", count(server.listing.tools.len(), "tool"))),
        ServerState::Degraded => Finding::warn(check, detail, "a part of what it lists is missing: tell its author"),
        ServerState::Starting => Finding::fail(check, "still starting when the time was up", ADVICE),
        ServerState::Down | ServerState::Stopped => Finding::fail(check, detail, ADVICE),
    }
}
