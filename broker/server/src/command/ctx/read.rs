//! `get`, `list`, `log`, `spaces`, `describe`.

use serde::Serialize;
use serde_json::{Value, json};
use spanwire_rpc::v1::{
    ContextDescribeSpaceRequest, ContextEvent, ContextGetRequest, ContextListRequest, ContextListSpacesRequest,
    ContextLogRequest, ContextSpace,
};

use super::{Client, Level, input, refused::failure, show};
use crate::{
    cli::Context,
    failure::{Exit, Failure},
    output::{Cell, Tone, note, now_ms, paint},
    raw,
};

/// Most entries that one request asks for.
const MAX_PAGE: u32 = 1000;

pub(super) async fn get(
    mut client: Client,
    space: String,
    key: String,
    level: Level,
    context: &mut Context,
) -> Result<(), Failure> {
    let request = ContextGetRequest { space: space.clone(), key: key.clone(), read: Some(level.to_message()) };
    let got = client.contexts.get(client.request(request)).await.map_err(failure)?.into_inner();
    let Some(entry) = got.entry else {
        let text = format!("there is no key \"{key}\" in space \"{space}\", up to sequence {}", got.sequence);
        return Err(Failure::new(Exit::NotFound, text));
    };
    if context.out.json {
        let mut all = show::entry_json(&entry)?;
        all.facts["sequence"] = got.sequence.into();
        all.facts["stale_ms"] = got.stale_ms.into();
        context.out.document(&all)?;
        return Ok(());
    }
    note(paint(&show::facts(&entry, now_ms()), Tone::Dim));
    stale(got.stale_ms);
    context.out.line(raw::text(&entry.value_json)?)?;
    Ok(())
}

/// Says so where there is nothing to show: a space that is misspelt is no error.
fn nothing(what: &str, space: &str, prefix: &str, sequence: u64) -> String {
    let of = if prefix.is_empty() { String::new() } else { format!(" of \"{prefix}\"") };
    format!("no {what}{of} in space \"{space}\", up to sequence {sequence}")
}

/// Says so when the node could not reach the log.
pub(super) fn stale(stale_ms: u64) {
    if stale_ms > 0 {
        let text = format!("the log has been out of reach for {} s: there may be newer versions", stale_ms / 1000);
        note(format!("{} {text}", paint("stale:", Tone::Warn)));
    }
}

/// Arguments of `spanwire ctx list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// The space
    space: String,
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Print the values too
    #[arg(long)]
    values: bool,
    /// How many keys at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = input::count())]
    limit: usize,
    #[command(flatten)]
    level: Level,
}

/// The JSON of `spanwire ctx list`. It is no [`Value`]: that would lose digits of the values.
#[derive(Serialize)]
struct Listed {
    entries: Vec<show::Document>,
    sequence: u64,
    stale_ms: u64,
    truncated: bool,
}

/// The JSON of `spanwire ctx log`, likewise.
#[derive(Serialize)]
struct Logged {
    events: Vec<show::Document>,
    first: u64,
    next: Option<u64>,
    sequence: u64,
    stale_ms: u64,
}

pub(super) async fn list(mut client: Client, args: List, context: &mut Context) -> Result<(), Failure> {
    let mut entries = Vec::new();
    let (mut after, mut stale_ms) = (String::new(), 0);
    let (sequence, next) = loop {
        let left = u32::try_from(args.limit - entries.len()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let request = ContextListRequest {
            space: args.space.clone(),
            prefix: args.prefix.clone(),
            after,
            limit: left,
            without_values: !args.values,
            read: Some(args.level.to_message()),
        };
        let page = client.contexts.list(client.request(request)).await.map_err(failure)?.into_inner();
        stale_ms = page.stale_ms.max(stale_ms);
        entries.extend(page.entries);
        if page.next.is_empty() || entries.len() >= args.limit {
            break (page.sequence, page.next);
        }
        after = page.next;
    };
    if context.out.json {
        let entries = entries.iter().map(show::entry_json).collect::<Result<_, _>>()?;
        context.out.document(&Listed { entries, sequence, stale_ms, truncated: !next.is_empty() })?;
        return Ok(());
    }
    stale(stale_ms);
    let now_ms = now_ms();
    let mut headers = show::ENTRY.to_vec();
    headers.extend(args.values.then_some("value"));
    let row = |entry: &_| {
        let mut row = show::row(entry, now_ms);
        row.extend(args.values.then(|| show::value_cell(&entry.value_json)));
        row
    };
    context.out.table(&headers, entries.iter().map(row).collect())?;
    if entries.is_empty() {
        note(nothing("keys", &args.space, &args.prefix, sequence));
    }
    if !next.is_empty() {
        note(format!("there are more than {}: narrow it with a prefix, or raise --limit", entries.len()));
    }
    Ok(())
}

/// Arguments of `spanwire ctx log`.
#[derive(Debug, clap::Args)]
pub(super) struct Log {
    /// The space
    space: String,
    /// Only changes of keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only the changes of this key
    #[arg(long, value_name = "KEY", conflicts_with_all = ["prefix", "from"])]
    key: Option<String>,
    /// The first sequence [default: the oldest change that is kept]
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    from: u64,
    /// How many changes at most
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = input::count())]
    limit: usize,
    #[command(flatten)]
    level: Level,
}

pub(super) async fn log(mut client: Client, args: Log, context: &mut Context) -> Result<(), Failure> {
    let mut events: Vec<ContextEvent> = Vec::new();
    let (mut from, mut stale_ms) = (args.from, 0);
    let (first, next, sequence) = loop {
        let request = ContextLogRequest {
            space: args.space.clone(),
            prefix: args.prefix.clone(),
            from,
            limit: u32::try_from(args.limit - events.len()).unwrap_or(MAX_PAGE).min(MAX_PAGE),
            without_values: false,
            read: Some(args.level.to_message()),
            key: args.key.clone().unwrap_or_default(),
        };
        let page = client.contexts.log(client.request(request)).await.map_err(failure)?.into_inner();
        stale_ms = page.stale_ms.max(stale_ms);
        events.extend(page.events);
        if page.next == 0 || events.len() >= args.limit {
            break (page.first, page.next, page.sequence);
        }
        from = page.next;
    };
    if context.out.json {
        let events = events.iter().map(show::event_json).collect::<Result<_, _>>()?;
        let next = Some(next).filter(|next| *next > 0);
        context.out.document(&Logged { events, first, next, sequence, stale_ms })?;
        return Ok(());
    }
    stale(stale_ms);
    for event in &events {
        context.out.line(show::event_line(event))?;
    }
    if events.is_empty() {
        note(nothing("changes", &args.space, args.key.as_ref().unwrap_or(&args.prefix), sequence));
    }
    if next > 0 {
        note(format!("there are more: go on with --from {next}"));
    }
    Ok(())
}

pub(super) async fn spaces(
    mut client: Client,
    prefix: String,
    level: Level,
    context: &mut Context,
) -> Result<(), Failure> {
    let mut spaces: Vec<ContextSpace> = Vec::new();
    let (mut after, mut stale_ms) = (String::new(), 0);
    loop {
        let read = Some(level.to_message());
        let request = ContextListSpacesRequest { read, prefix: prefix.clone(), after, limit: MAX_PAGE };
        let page = client.contexts.list_spaces(client.request(request)).await.map_err(failure)?.into_inner();
        stale_ms = page.stale_ms.max(stale_ms);
        spaces.extend(page.spaces);
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    if context.out.json {
        let spaces: Vec<Value> = spaces.iter().map(show::space_json).collect();
        context.out.document(&json!({ "spaces": spaces, "stale_ms": stale_ms }))?;
        return Ok(());
    }
    stale(stale_ms);
    if spaces.is_empty() {
        context.out.line("no spaces: the first \"spanwire ctx put SPACE KEY JSON\" makes one")?;
        return Ok(());
    }
    let row = |space: &ContextSpace| {
        let numbers = [space.keys, space.bytes, space.events, space.last].map(|number| Cell::from(number.to_string()));
        std::iter::once(Cell::from(&space.name)).chain(numbers).collect()
    };
    context.out.table(&["space", "keys", "bytes", "changes", "last"], spaces.iter().map(row).collect())?;
    Ok(())
}

pub(super) async fn describe(
    mut client: Client,
    space: String,
    level: Level,
    context: &mut Context,
) -> Result<(), Failure> {
    let request = ContextDescribeSpaceRequest { space, read: Some(level.to_message()) };
    let told = client.contexts.describe_space(client.request(request)).await.map_err(failure)?.into_inner();
    let (space, quotas) = (told.space.unwrap_or_default(), told.quotas.unwrap_or_default());
    if context.out.json {
        let mut all = show::space_json(&space);
        all["shard"] = told.shard.into();
        all["sequence"] = told.sequence.into();
        all["stale_ms"] = told.stale_ms.into();
        all["quotas"] = json!({
            "value_bytes": quotas.value_bytes,
            "keys": quotas.keys,
            "bytes": quotas.bytes,
            "log_events": quotas.log_events,
            "log_bytes": quotas.log_bytes,
            "operations": quotas.operations,
        });
        context.out.document(&all)?;
        return Ok(());
    }
    stale(told.stale_ms);
    for (name, value) in [
        ("space", format!("{} in shard {}", space.name, told.shard)),
        ("keys", format!("{} of {}", space.keys, quotas.keys)),
        ("bytes", format!("{} of {}, {} of them in one value at most", space.bytes, quotas.bytes, quotas.value_bytes)),
        (
            "changes",
            format!("{} of {}, from sequence {} to {}", space.events, quotas.log_events, space.first, space.last),
        ),
        ("log", format!("{} bytes of {}", space.log_bytes, quotas.log_bytes)),
    ] {
        context.out.line(format!("{} {value}", paint(&format!("{name:<8}"), Tone::Dim)))?;
    }
    Ok(())
}
