//! `spanwire tools`.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use spanwire_rpc::v1::{ListToolsRequest, Tool};

use crate::{
    cli::Context,
    failure::Failure,
    output::{Cell, Tone, first_line},
    raw,
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
        let tools = list.tools.iter().map(to_json).collect();
        context.out.document(&List { total: list.total, truncated: list.truncated, tools })?;
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

/// JSON of a field that may be empty, for what is decided on. What is shown goes through [`raw`]: numbers lose digits here.
pub(crate) fn embedded(json: &Bytes) -> Value {
    serde_json::from_slice(json).unwrap_or(Value::Null)
}

/// The JSON of `spanwire tools`.
#[derive(Serialize)]
struct List {
    total: u32,
    truncated: bool,
    tools: Vec<Shown>,
}

/// A tool as JSON, with its schemas as the server wrote them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    facts: Value,
    input_schema: Box<RawValue>,
    output_schema: Box<RawValue>,
    annotations: Box<RawValue>,
}

fn to_json(tool: &Tool) -> Shown {
    Shown {
        facts: json!({
            "name": tool.name,
            "server": tool.server,
            "nodes": tool.nodes,
            "title": tool.title,
            "description": tool.description,
        }),
        input_schema: raw::part_or_null(&tool.input_schema_json),
        output_schema: raw::part_or_null(&tool.output_schema_json),
        annotations: raw::part_or_null(&tool.annotations_json),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_schema_is_printed_as_it_was_written() {
        let schema = r#"{"maximum":123456789012345678901234567890,"b":1.0,"a":1.10,"c":12345678901234567890}"#;
        let tool = Tool { name: "git__log".into(), input_schema_json: schema.into(), ..Tool::default() };
        let text = serde_json::to_string(&to_json(&tool)).unwrap();
        assert!(text.contains(&format!("\"inputSchema\":{schema},\"outputSchema\":null,")), "{text}");
        let pretty = serde_json::to_string_pretty(&to_json(&tool)).unwrap();
        assert!(pretty.contains(&format!("\"inputSchema\": {schema},\n")), "{pretty}");
    }
}
