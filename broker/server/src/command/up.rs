//! `spanwire up`: run a node until it is told to stop.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use serde_json::json;
use spanwire_model::{Inventory, NodeId};

use crate::{
    cli::Context,
    config::{Config, Overrides, Source},
    failure::Failure,
    node::{self, RunningNode},
    output::{Out, Tone, clean, note, paint},
};

mod follow;
mod signal;

pub(crate) use follow::Follower;
pub(crate) use signal::Stop;

/// Arguments of `spanwire up`. They go before the configuration file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also run the servers of a file of Claude, Cursor, VS Code or Codex
    #[arg(long, env = "SPANWIRE_MCP_JSON", value_name = "FILE")]
    mcp_json: Option<PathBuf>,
    /// Address of HTTP [default: 127.0.0.1:7400]
    #[arg(long, env = "SPANWIRE_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of gRPC [default: 127.0.0.1:7401]
    #[arg(long, env = "SPANWIRE_LISTEN_GRPC", value_name = "ADDR")]
    listen_grpc: Option<SocketAddr>,
    /// NATS servers that connect the nodes
    #[arg(long, env = "SPANWIRE_NATS_URL", hide_env_values = true, value_name = "URL")]
    nats: Option<String>,
    /// Folder for state
    #[arg(long, env = "SPANWIRE_DATA_DIR", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Id of this node [default: made from the host name]
    #[arg(long, env = "SPANWIRE_NODE_ID", value_name = "ID")]
    node_id: Option<NodeId>,
    /// Where spans are sent, such as http://127.0.0.1:4317
    #[arg(long, env = "SPANWIRE_OTLP_ENDPOINT", value_name = "URL")]
    otlp: Option<String>,
}

impl Args {
    fn overrides(self) -> Overrides {
        Overrides {
            node_id: self.node_id,
            data_dir: self.data,
            http: self.listen,
            grpc: self.listen_grpc,
            nats_url: self.nats,
            otlp_endpoint: self.otlp,
            mcp_json: self.mcp_json,
        }
    }
}

/// Starts the node, prints its urls at once, then a line for each change of a server, until a signal comes.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let source = Source { path: context.config_path(), overrides: args.overrides() };
    let (config, warnings) = source.load()?;
    for warning in &warnings {
        note(format!("{} {}", paint("warning:", Tone::Warn), clean(warning)));
    }
    let node = tokio::select! {
        node = node::start(config.clone()) => node?,
        () = stop.wait() => return Ok(()),
    };
    let outcome = attend(&node, &config, &mut stop, &mut context.out).await;
    note(paint("stopping: running calls may finish; a second signal stops at once", Tone::Dim));
    tokio::select! {
        () = node.shutdown() => {}
        () = stop.wait() => {}
    }
    outcome
}

async fn attend(node: &RunningNode, config: &Config, stop: &mut Stop, out: &mut Out) -> Result<(), Failure> {
    announce(node, config, out)?;
    let mut inventory = node.inventory.clone();
    let mut follower = Follower::new(!out.json);
    loop {
        let now: Arc<Inventory> = inventory.borrow_and_update().clone();
        follower.show(&now, out)?;
        tokio::select! {
            changed = inventory.changed() => {
                if changed.is_err() {
                    return Err(Failure::failed("the node stopped by itself: see its log"));
                }
            }
            () = stop.wait() => return Ok(()),
        }
    }
}

/// Prints where the node answers.
pub(crate) fn announce(node: &RunningNode, config: &Config, out: &mut Out) -> Result<(), Failure> {
    let id = node.id.as_str();
    let (http, grpc) = (node.http_addr, node.grpc_addr);
    let urls = [
        ("mcp", format!("http://{http}/mcp")),
        ("metrics", format!("http://{http}/metrics")),
        ("health", format!("http://{http}/healthz")),
        ("grpc", format!("http://{grpc}")),
    ];
    if out.json {
        let urls: serde_json::Value = urls.into_iter().map(|(name, url)| (name.to_owned(), url)).collect();
        out.json_line(&json!({ "event": "listening", "node": id, "urls": urls }))?;
        return Ok(());
    }
    out.line(format!("spanwire {} on node {id}", env!("CARGO_PKG_VERSION")))?;
    for (name, url) in urls {
        out.line(format!("  {} {url}", paint(&format!("{name:<8}"), Tone::Dim)))?;
    }
    for view in config.views.keys() {
        out.line(format!("  {} http://{http}/mcp/{view}", paint("view    ", Tone::Dim)))?;
    }
    if config.principals.is_empty() && !config.is_loopback_only() {
        note(format!("{} everyone who reaches these addresses may call every tool", paint("warning:", Tone::Warn)));
    }
    if config.servers.values().all(|server| !server.enabled) {
        out.line("no servers yet: \"spanwire add NAME -- COMMAND\", or \"spanwire import FILE\"")?;
    }
    Ok(())
}
