//! `spanwire servers`.

use serde_json::{Value, json};
use spanwire_rpc::v1::{self, Era, ServerInfo, ServerState};

use crate::{
    cli::Context,
    failure::Failure,
    output::{Cell, Tone, first_line},
};

const MAX_DETAIL: usize = 120;

/// Arguments of `spanwire servers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on, and print each server that changes
    #[arg(long)]
    watch: bool,
}

/// Prints all servers that the node knows.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    if args.watch {
        return watch(&mut broker, context).await;
    }
    let list = broker.list_servers(v1::ListServersRequest {}).await?.into_inner();
    if context.out.json {
        let servers: Vec<Value> = list.servers.iter().map(to_json).collect();
        context.out.document(&json!({ "version": list.version, "servers": servers }))?;
    } else if list.servers.is_empty() {
        context.out.line("no servers: add one with \"spanwire add\", or take yours over with \"spanwire import\"")?;
    } else {
        let headers = ["server", "state", "node", "by", "era", "tools", "prompts", "resources", "restarts", "detail"];
        context.out.table(&headers, list.servers.iter().map(row).collect())?;
    }
    Ok(())
}

async fn watch(broker: &mut crate::client::Broker, context: &mut Context) -> Result<(), Failure> {
    let mut changes = broker.watch_catalog(v1::WatchCatalogRequest {}).await?.into_inner();
    let mut known: Vec<ServerInfo> = Vec::new();
    while let Some(change) = changes.message().await? {
        for server in change.servers.iter().filter(|server| !known.contains(server)) {
            if context.out.json {
                context.out.json_line(&to_json(server))?;
            } else {
                context.out.line(line(server))?;
            }
        }
        let gone = known.iter().filter(|old| !change.servers.iter().any(|new| same(old, new)));
        for server in gone {
            if context.out.json {
                context.out.json_line(&json!({ "id": server.id, "node": server.node, "state": "gone" }))?;
            } else {
                context.out.line(format!("gone      {} on {}", server.id, server.node))?;
            }
        }
        known = change.servers;
    }
    Ok(())
}

fn same(a: &ServerInfo, b: &ServerInfo) -> bool {
    a.id == b.id && a.node == b.node
}

fn line(server: &ServerInfo) -> String {
    let (word, tone) = state(server.state());
    let detail =
        if server.detail.is_empty() { String::new() } else { format!(": {}", first_line(&server.detail, MAX_DETAIL)) };
    let word = crate::output::paint(&format!("{word:<9}"), tone);
    format!("{word} {} on {}, {}{detail}", server.id, server.node, crate::output::count(server.tools as usize, "tool"))
}

fn row(server: &ServerInfo) -> Vec<Cell> {
    let (word, tone) = state(server.state());
    let revision = if server.revision.is_empty() { "-" } else { &server.revision };
    let quiet = |count: u32| Cell::toned(count.to_string(), if count == 0 { Tone::Dim } else { Tone::Plain });
    vec![
        (&server.id).into(),
        Cell::toned(word, tone),
        (&server.node).into(),
        (&server.transport).into(),
        format!("{} {revision}", era(server.era())).into(),
        quiet(server.tools),
        quiet(server.prompts),
        quiet(server.resources + server.templates),
        quiet(server.restarts),
        first_line(&server.detail, MAX_DETAIL).into(),
    ]
}

/// A state in one word, and how it is meant.
pub(crate) fn state(state: ServerState) -> (&'static str, Tone) {
    match state {
        ServerState::Unspecified => ("unknown", Tone::Dim),
        ServerState::Starting => ("starting", Tone::Warn),
        ServerState::Ready => ("ready", Tone::Good),
        ServerState::Degraded => ("degraded", Tone::Warn),
        ServerState::Down => ("down", Tone::Bad),
        ServerState::Stopped => ("stopped", Tone::Dim),
    }
}

fn era(era: Era) -> &'static str {
    match era {
        Era::Unspecified => "",
        Era::Modern => "modern",
        Era::Legacy => "legacy",
    }
}

/// A server as JSON, in the names of the control API.
pub(crate) fn to_json(server: &ServerInfo) -> Value {
    json!({
        "id": server.id,
        "node": server.node,
        "local": server.local,
        "transport": server.transport,
        "state": state(server.state()).0,
        "detail": server.detail,
        "restarts": server.restarts,
        "era": era(server.era()),
        "revision": server.revision,
        "name": server.name,
        "version": server.version,
        "tools": server.tools,
        "prompts": server.prompts,
        "resources": server.resources,
        "templates": server.templates,
    })
}
