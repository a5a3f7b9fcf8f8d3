//! `spanwire status`.

use serde_json::{Value, json};
use spanwire_rpc::v1::{StatusRequest, StatusResponse};

use super::servers;
use crate::{
    cli::Context,
    failure::Failure,
    output::{Tone, count, duration, paint},
};

mod cluster;

/// Arguments of `spanwire status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Prints how the node is.
pub(crate) async fn run(_args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let status = broker.status(StatusRequest {}).await?.into_inner();
    if context.out.json {
        context.out.document(&to_json(&status))?;
        return Ok(());
    }
    for (name, value) in facts(&status) {
        context.out.line(format!("{} {value}", paint(&format!("{name:<10}"), Tone::Dim)))?;
    }
    cluster::print(&status, context)
}

fn facts(status: &StatusResponse) -> Vec<(&'static str, String)> {
    let ready = if status.ready {
        paint("ready", Tone::Good)
    } else {
        format!("{}: {}", paint("not ready", Tone::Bad), status.missing.join("; "))
    };
    let connected =
        if status.backbone_connected { paint("connected", Tone::Good) } else { paint("not connected", Tone::Bad) };
    let servers: Vec<String> = status
        .servers
        .iter()
        .map(|one| {
            let (word, tone) = servers::state(one.state());
            paint(&format!("{} {word}", one.count), tone)
        })
        .collect();
    let mut facts = vec![
        ("node", format!("{} {ready}", status.node)),
        ("version", status.version.clone()),
        ("up for", duration(status.uptime_ms.saturating_mul(1_000_000))),
    ];
    facts.extend(status.listeners.iter().map(|one| {
        let era = if one.era.is_empty() { String::new() } else { format!(", era {}", one.era) };
        ("listens", format!("{} {}{era}", one.name, one.address))
    }));
    facts.push(("backbone", format!("{} {connected}", status.backbone)));
    facts.push(("nodes", status.nodes.join(" ")));
    if !status.ledger.is_empty() {
        facts.push(("ledger", format!("{}, shards: {}", status.ledger, cluster::summary(&status.shards))));
    }
    facts.push(("servers", if servers.is_empty() { "none".to_owned() } else { servers.join(", ") }));
    let [servers, agents] = [(status.registered_servers, "server"), (status.agents, "agent")]
        .map(|(number, noun)| count(usize::try_from(number).unwrap_or(usize::MAX), noun));
    facts.push(("registry", format!("{servers}, {agents}")));
    facts.push(("calls", format!("{} in flight, {} sessions", status.in_flight, status.sessions)));
    if let Some(telemetry) = &status.telemetry {
        let to = if telemetry.endpoint.is_empty() {
            "not exported".to_owned()
        } else {
            format!("to {}", telemetry.endpoint)
        };
        let lost = telemetry.failed + telemetry.dropped;
        let lost = paint(&format!("{lost} lost"), if lost == 0 { Tone::Plain } else { Tone::Warn });
        facts.push(("spans", format!("{to}: {} sent, {lost}, {} held", telemetry.exported, telemetry.held)));
    }
    facts
}

fn to_json(status: &StatusResponse) -> Value {
    let listeners: Value =
        status.listeners.iter().map(|one| (one.name.clone(), Value::from(one.address.clone()))).collect();
    let spoken = status.listeners.iter().filter(|one| !one.era.is_empty());
    let eras: Value = spoken.map(|one| (one.name.clone(), Value::from(one.era.clone()))).collect();
    let servers: Value =
        status.servers.iter().map(|one| (servers::state(one.state()).0.to_owned(), Value::from(one.count))).collect();
    let telemetry = status.telemetry.as_ref().map(|one| {
        json!({
            "endpoint": one.endpoint, "exported": one.exported, "failed": one.failed, "dropped": one.dropped,
            "held": one.held,
        })
    });
    json!({
        "node": status.node,
        "version": status.version,
        "uptime_ms": status.uptime_ms,
        "ready": status.ready,
        "missing": status.missing,
        "listeners": listeners,
        "eras": eras,
        "backbone": { "name": status.backbone, "connected": status.backbone_connected },
        "nodes": status.nodes,
        "servers": servers,
        "registered": { "servers": status.registered_servers, "agents": status.agents },
        "in_flight": status.in_flight,
        "sessions": status.sessions,
        "telemetry": telemetry,
        "node_states": cluster::nodes_json(&status.node_states),
        "leases": cluster::leases_json(&status.leases),
        "ledger": status.ledger,
        "shards": cluster::shards_json(&status.shards),
    })
}
