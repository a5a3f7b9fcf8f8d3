//! `spanwire tools`.

use bytes::Bytes;
use serde_json::{Value, json};
use spanwire_rpc::v1::{ListToolsRequest, Tool};

use crate::{
    cli::Context,
    failure::Failure,
    output::{Cell, Tone, first_line},
};

const MAX_DESCRIPTION: usize = 160;

/// Arguments of `spanwire tools`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Words that must all be found in name, title or description
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    search: String,
    /// A view instead of all servers
    #[arg(long, value_name = "VIEW", default_value = "", hide_default_value = true)]
    view: String,
    /// Only tools of this server
    #[arg(long, value_name = "SERVER", default_value = "", hide_default_value = true)]
    server: String,
    /// How many tools at most
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: u32,
}

/// Prints the tools that the operator may call.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let request = ListToolsRequest {
        view: args.view,
        query: args.search,
        server: args.server,
        limit: args.limit,
        without_schemas: !context.out.json,
    };
    let list = broker.list_tools(request).await?.into_inner();
    if context.out.json {
        let tools: Vec<Value> = list.tools.iter().map(to_json).collect();
        context.out.document(&json!({ "total": list.total, "truncated": list.truncated, "tools": tools }))?;
        return Ok(());
    }
    if list.tools.is_empty() {
        context.out.line("no tools")?;
        return Ok(());
    }
    context.out.table(&["tool", "node", "description"], list.tools.iter().map(row).collect())?;
    if list.truncated && context.out.terminal {
        context.out.line(format!(
            "{} of {} tools: narrow it with --search or --server",
            list.tools.len(),
            list.total
        ))?;
    }
    Ok(())
}

fn row(tool: &Tool) -> Vec<Cell> {
    let about = if tool.description.is_empty() { &tool.title } else { &tool.description };
    let nodes = if tool.nodes.is_empty() {
        Cell::toned("none", Tone::Bad)
    } else {
        Cell::toned(tool.nodes.join(" "), Tone::Dim)
    };
    vec![(&tool.name).into(), nodes, first_line(about, MAX_DESCRIPTION).into()]
}

/// JSON of a field that may be empty.
pub(crate) fn embedded(json: &Bytes) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

fn to_json(tool: &Tool) -> Value {
    json!({
        "name": tool.name,
        "server": tool.server,
        "nodes": tool.nodes,
        "title": tool.title,
        "description": tool.description,
        "inputSchema": embedded(&tool.input_schema_json),
        "outputSchema": embedded(&tool.output_schema_json),
        "annotations": embedded(&tool.annotations_json),
    })
}
