//! `spanwire trace ls|show|follow`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use spanwire_rpc::v1::{
    FollowTracesRequest, GetTraceRequest, KeyValue, ListTracesRequest, Span, SpanKind, TraceSummary,
};

use crate::{
    cli::Context,
    failure::Failure,
    output::{Cell, Tone, clean, count, duration, first_line, paint},
    raw, waterfall,
};

/// Characters of a trace id that are shown in a list.
const SHORT_ID: usize = 12;
const MAX_TEXT: usize = 80;

/// Arguments of `spanwire trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the latest traces that the node holds.
    Ls {
        #[command(flatten)]
        filter: Filter,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
    /// Draw one trace as a waterfall.
    Show {
        /// The trace id, or its first hex digits, at least 4
        id: String,
    },
    /// Print each trace as it ends.
    Follow {
        #[command(flatten)]
        filter: Filter,
    },
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Found in the name or an attribute of any span
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    search: String,
    /// Only traces with an error
    #[arg(long)]
    errors: bool,
    /// Only traces that took at least this long
    #[arg(long, value_name = "MS", default_value_t = 0)]
    slower_than_ms: u64,
}

/// Prints traces.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    match args.what {
        What::Ls { filter, limit } => list(filter, limit, context).await,
        What::Show { id } => show(id, context).await,
        What::Follow { filter } => follow(filter, context).await,
    }
}

async fn list(filter: Filter, limit: u32, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let request = ListTracesRequest {
        limit,
        text: filter.search,
        errors_only: filter.errors,
        min_duration_ms: filter.slower_than_ms,
    };
    let traces = broker.list_traces(request).await?.into_inner().traces;
    if context.out.json {
        let traces: Vec<Value> = traces.iter().map(summary_json).collect();
        context.out.document(&json!({ "traces": traces }))?;
        return Ok(());
    }
    let rows = traces.iter().map(|trace| {
        let (outcome, tone) = outcome(trace);
        vec![
            Cell::from(short(&trace.trace_id)),
            Cell::from(first_line(&trace.name, MAX_TEXT)),
            Cell::from(took(trace)),
            Cell::from(trace.spans.to_string()),
            Cell::from(trace.nodes.join(" ")),
            Cell::toned(outcome, tone),
        ]
    });
    context.out.table(&["trace", "name", "took", "spans", "nodes", "outcome"], rows.collect())?;
    Ok(())
}

async fn show(id: String, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let trace = broker.get_trace(GetTraceRequest { trace_id: id.to_ascii_lowercase() }).await?.into_inner();
    let summary = trace.summary.unwrap_or_default();
    if context.out.json {
        let spans = trace.spans.iter().map(span_json).collect();
        context.out.document(&Shown { summary: summary_json(&summary), spans })?;
        return Ok(());
    }
    print(&summary, &trace.spans, context)
}

/// Prints a headline and the waterfall.
pub(crate) fn print(summary: &TraceSummary, spans: &[Span], context: &mut Context) -> Result<(), Failure> {
    let facts = [took(summary), count(spans.len(), "span"), format!("nodes {}", summary.nodes.join(" "))];
    let name = first_line(&summary.name, MAX_TEXT);
    context.out.line(format!("{} {name}  {}", paint(&summary.trace_id, Tone::Dim), facts.join("  ")))?;
    for line in waterfall::draw(spans, usize::from(context.out.width)) {
        context.out.line(line)?;
    }
    Ok(())
}

async fn follow(filter: Filter, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let request =
        FollowTracesRequest { text: filter.search, errors_only: filter.errors, min_duration_ms: filter.slower_than_ms };
    let mut traces = broker.follow_traces(request).await?.into_inner();
    while let Some(trace) = traces.message().await? {
        if context.out.json {
            context.out.json_line(&summary_json(&trace))?;
            continue;
        }
        let (outcome, tone) = outcome(&trace);
        let line = format!(
            "{} {:>9} {} {}",
            paint(short(&trace.trace_id), Tone::Dim),
            took(&trace),
            first_line(&trace.name, MAX_TEXT),
            paint(&outcome, tone),
        );
        context.out.line(line)?;
    }
    Ok(())
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

fn took(trace: &TraceSummary) -> String {
    duration(trace.end_unix_nanos.saturating_sub(trace.start_unix_nanos))
}

fn outcome(trace: &TraceSummary) -> (String, Tone) {
    match trace.errors {
        0 => ("ok".to_owned(), Tone::Good),
        errors if trace.error.is_empty() => (count(errors as usize, "error"), Tone::Bad),
        _ => (first_line(&trace.error, MAX_TEXT), Tone::Bad),
    }
}

fn summary_json(trace: &TraceSummary) -> Value {
    json!({
        "trace_id": trace.trace_id,
        "name": trace.name,
        "start_unix_nanos": trace.start_unix_nanos,
        "end_unix_nanos": trace.end_unix_nanos,
        "spans": trace.spans,
        "errors": trace.errors,
        "error": trace.error,
        "nodes": trace.nodes,
        "servers": trace.servers,
    })
}

/// The JSON of `spanwire trace show`.
#[derive(Serialize)]
struct Shown {
    summary: Value,
    spans: Vec<SpanShown>,
}

/// A span as JSON, with its attributes as they were written.
#[derive(Serialize)]
struct SpanShown {
    #[serde(flatten)]
    facts: Value,
    attributes: BTreeMap<String, Box<RawValue>>,
}

fn span_json(span: &Span) -> SpanShown {
    let attribute = |one: &KeyValue| (clean(&one.key), raw::part_or_null(&one.value_json));
    let facts = json!({
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "kind": match span.kind() {
            SpanKind::Unspecified => "unspecified",
            SpanKind::Internal => "internal",
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            SpanKind::Producer => "producer",
            SpanKind::Consumer => "consumer",
        },
        "start_unix_nanos": span.start_unix_nanos,
        "end_unix_nanos": span.end_unix_nanos,
        "failed": span.failed,
        "error": span.error,
        "node": span.node,
    });
    SpanShown { facts, attributes: span.attributes.iter().map(attribute).collect() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_attribute_is_printed_as_it_was_written() {
        let pair = |key: &str, json: &'static str| KeyValue {
            key: key.into(),
            value_json: json.into(),
            ..KeyValue::default()
        };
        let attributes =
            vec![pair("big", "123456789012345678901234567890"), pair("id", "12345678901234567890"), pair("one", "1.0")];
        let text = serde_json::to_string(&span_json(&Span { attributes, ..Span::default() })).unwrap();
        let expected = r#""attributes":{"big":123456789012345678901234567890,"id":12345678901234567890,"one":1.0}"#;
        assert!(text.contains(expected), "{text}");
    }
}
