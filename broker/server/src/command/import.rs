//! `spanwire import`: servers of another host, into the running node or into a configuration file.

use std::path::PathBuf;

use serde_json::{Value, json};
use spanwire_rpc::v1::AddServerRequest;
use tonic::Code;

use super::add;
use crate::{
    cli::Context,
    failure::Failure,
    import::{self, Imported, ImportedServer},
    output::{Cell, Tone, clean, count, note, paint},
};

/// Arguments of `spanwire import`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file of Claude Desktop, Claude Code, Cursor, Windsurf, VS Code or Codex. It is never changed
    file: PathBuf,
    /// Add the servers to this configuration file instead of the running node
    #[arg(long, value_name = "CONFIG")]
    into: Option<PathBuf>,
    /// Only show what would be added
    #[arg(long)]
    dry_run: bool,
    /// Take the place of servers of the same id on the running node
    #[arg(long, conflicts_with = "into")]
    replace: bool,
}

/// What became of one server.
struct Outcome {
    word: &'static str,
    tone: Tone,
    detail: String,
}

impl Outcome {
    fn new(word: &'static str, tone: Tone, detail: impl Into<String>) -> Self {
        Self { word, tone, detail: detail.into() }
    }
}

/// Reads the file, adds its servers, and prints what became of each.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let imported = import::read(&args.file)?;
    let outcomes = match (&args.into, args.dry_run) {
        (_, true) => imported.servers.iter().map(planned).collect(),
        (Some(target), false) => {
            import::add_to_file(target, &imported.servers)?;
            imported.servers.iter().map(|_| Outcome::new("written", Tone::Good, "")).collect()
        }
        (None, false) => add_to_node(&imported, args.replace, context).await?,
    };
    print(&imported, &outcomes, context)?;
    match outcomes.iter().filter(|outcome| outcome.tone == Tone::Bad).count() {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{} not added", count(failed, "server")))),
    }
}

fn planned(server: &ImportedServer) -> Outcome {
    match server.table.target() {
        Ok(_) if server.table.enabled => Outcome::new("would be added", Tone::Good, ""),
        Ok(_) => Outcome::new("disabled", Tone::Dim, ""),
        Err(what) => Outcome::new("failed", Tone::Bad, what),
    }
}

async fn add_to_node(imported: &Imported, replace: bool, context: &Context) -> Result<Vec<Outcome>, Failure> {
    let mut broker = context.target().connect().await?;
    let mut outcomes = Vec::with_capacity(imported.servers.len());
    for server in &imported.servers {
        if !server.table.enabled {
            outcomes.push(Outcome::new("skipped", Tone::Dim, "disabled"));
            continue;
        }
        let outcome = match add::spec(&server.id, &server.table) {
            Err(what) => Outcome::new("failed", Tone::Bad, what),
            Ok(spec) => {
                match broker.add_server(AddServerRequest { spec: Some(spec), replace, node: String::new() }).await {
                    Ok(_) => Outcome::new("added", Tone::Good, ""),
                    Err(status) if matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition) => {
                        Outcome::new("failed", Tone::Bad, status.message())
                    }
                    Err(status) => return Err(status.into()),
                }
            }
        };
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn print(imported: &Imported, outcomes: &[Outcome], context: &mut Context) -> Result<(), Failure> {
    let pairs = imported.servers.iter().zip(outcomes);
    if context.out.json {
        let servers: Vec<Value> = pairs
            .map(|(server, outcome)| {
                json!({
                    "name": server.name, "id": server.id, "outcome": outcome.word, "detail": outcome.detail,
                    "table": server.table,
                })
            })
            .collect();
        let format = imported.format.as_str();
        context.out.document(&json!({ "format": format, "servers": servers, "warnings": imported.warnings }))?;
        return Ok(());
    }
    let rows = pairs.map(|(server, outcome)| {
        let detail = if outcome.detail.is_empty() { server.table.describe() } else { outcome.detail.clone() };
        vec![Cell::from(server.id.as_str()), Cell::toned(outcome.word, outcome.tone), Cell::from(detail)]
    });
    context.out.table(&["server", "outcome", "detail"], rows.collect())?;
    for warning in &imported.warnings {
        note(format!("{} {}", paint("warning:", Tone::Warn), clean(warning)));
    }
    Ok(())
}
