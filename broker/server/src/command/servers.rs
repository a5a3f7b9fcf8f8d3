//! `spanwire servers`.

use serde_json::{Value, json};
use spanwire_rpc::v1::{self, Era, Placement, ServerInfo, ServerState, WantedServer};

use crate::{
    cli::Context,
    failure::Failure,
    output::{Cell, Tone, first_line},
};

mod wanted;

const MAX_DETAIL: usize = 120;

const HEADERS: [&str; 12] = [
    "server",
    "state",
    "node",
    "source",
    "placement",
    "by",
    "era",
    "tools",
    "prompts",
    "resources",
    "restarts",
    "detail",
];

/// Arguments of `spanwire servers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on, and print each server that changes
    #[arg(long)]
    watch: bool,
}

/// Prints all servers that the node knows, those included that run nowhere.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    if args.watch {
        return watch(&mut broker, context).await;
    }
    let list = broker.list_servers(v1::ListServersRequest {}).await?.into_inner();
    if context.out.json {
        let servers: Vec<Value> = list.servers.iter().map(to_json).collect();
        let wanted: Vec<Value> = list.wanted.iter().map(wanted::to_json).collect();
        context.out.document(&json!({ "version": list.version, "servers": servers, "wanted": wanted }))?;
        return Ok(());
    }
    let has_row = |wanted: &&WantedServer| list.servers.iter().any(|server| server.id == wanted.id);
    let missing = list.wanted.iter().filter(|wanted| !has_row(wanted));
    let mut rows: Vec<Vec<Cell>> = list.servers.iter().map(|server| row(server, &list.wanted)).collect();
    rows.extend(missing.map(wanted::row));
    if rows.is_empty() {
        context.out.line("no servers: add one with \"spanwire add\", or take yours over with \"spanwire import\"")?;
        return Ok(());
    }
    context.out.table(&HEADERS, rows)?;
    for note in list.wanted.iter().flat_map(|wanted| wanted::notes(wanted, has_row(&wanted))) {
        context.out.line(note)?;
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

fn row(server: &ServerInfo, wanted: &[WantedServer]) -> Vec<Cell> {
    let (word, tone) = state(server.state());
    let revision = if server.revision.is_empty() { "-" } else { &server.revision };
    let quiet = |count: u32| Cell::toned(count.to_string(), if count == 0 { Tone::Dim } else { Tone::Plain });
    vec![
        (&server.id).into(),
        Cell::toned(word, tone),
        (&server.node).into(),
        wanted::source(server.source()).into(),
        placement(server, wanted).into(),
        (&server.transport).into(),
        format!("{} {revision}", era(server.era())).into(),
        quiet(server.tools),
        quiet(server.prompts),
        quiet(server.resources + server.templates),
        quiet(server.restarts),
        first_line(&server.detail, MAX_DETAIL).into(),
    ]
}

/// `here`, or which of how many replicas it is.
fn placement(server: &ServerInfo, wanted: &[WantedServer]) -> String {
    match server.placement() {
        Placement::Unspecified => String::new(),
        Placement::Here => "here".to_owned(),
        Placement::Any => {
            let replicas = wanted.iter().filter(|one| one.id == server.id).map(|one| one.replicas).max();
            // The configuration of the other nodes is not known here.
            let of = replicas.map(|replicas| format!("/{replicas}")).unwrap_or_default();
            format!("any {}{of}", server.replica + 1)
        }
    }
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
        "source": wanted::source(server.source()),
        "placement": wanted::placement(server.placement()),
        "replica": server.replica,
        "token": server.token,
        "load": server.load,
    })
}
