//! `watch` and `snapshot`.

use serde::Serialize;
use spanwire_rpc::v1::{ContextSnapshotRequest, ContextWatchRequest, context_snapshot_part::Part};
use tonic::Status;

use super::{
    Client, Level,
    read::stale,
    refused::{failure, first_kept},
    show,
};
use crate::{
    cli::Context,
    failure::Failure,
    output::{Tone, note, now_ms, paint},
};

/// Arguments of `spanwire ctx watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// The space; it need not be there yet
    space: String,
    /// Only changes of keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    /// The first sequence: the last that was seen, whose changes may come again; pass over those that were seen already. 1 begins
    /// with what is kept
    /// [default: what happens from now on]
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
}

pub(super) async fn watch(mut client: Client, args: Watch, context: &mut Context) -> Result<(), Failure> {
    let mut from = wire_from(args.from);
    if args.from.is_none() && !context.out.json {
        note(paint("from now on; --from 1 begins with what is kept of what happened", Tone::Dim));
    }
    // Whoever wants what happened from the beginning takes what there is of it, and is told; once, or a log that loses all that fast
    // would never be left.
    let mut begins_later = from == BEGINNING;
    loop {
        let Some(Ended { seen, status }) = follow(&mut client, &args, from, context).await? else { return Ok(()) };
        if let (None, true, Some(first)) = (seen, begins_later, first_kept(&status)) {
            note(paint(&format!("what happened before sequence {first} is no longer kept"), Tone::Dim));
            (from, begins_later) = (first, false);
            continue;
        }
        let failure = failure(status);
        // The last write may be torn: from its own sequence on nothing is missed.
        return Err(match (seen, &failure.hint) {
            (Some(sequence), None) => failure.with_hint(format!("go on with --from {sequence}")),
            (Some(_) | None, _) => failure,
        });
    }
}

/// Why a watch ended.
struct Ended {
    /// The sequence of the last event that it told.
    seen: Option<u64>,
    status: Status,
}

/// Prints what happens until it ends; `None` when the node has no more to say.
async fn follow(client: &mut Client, args: &Watch, from: u64, context: &mut Context) -> Result<Option<Ended>, Failure> {
    let request =
        ContextWatchRequest { space: args.space.clone(), prefix: args.prefix.clone(), from, without_values: false };
    let mut events = match client.contexts.watch(client.request(request)).await {
        Ok(events) => events.into_inner(),
        Err(status) => return Ok(Some(Ended { seen: None, status })),
    };
    let mut seen = None;
    loop {
        match events.message().await {
            Ok(Some(event)) => {
                seen = Some(event.sequence);
                if context.out.json {
                    context.out.json_line(&show::event_json(&event)?)?;
                } else {
                    context.out.line(show::event_line(&event))?;
                }
            }
            Ok(None) => return Ok(None),
            Err(status) => return Ok(Some(Ended { seen, status })),
        }
    }
}

/// The first sequence that a log has.
const BEGINNING: u64 = 1;

/// On the wire 0 is "from now on". Sequences begin with 1, so who says 0 wants everything.
fn wire_from(from: Option<u64>) -> u64 {
    from.map_or(0, |from| from.max(BEGINNING))
}

/// The JSON of `spanwire ctx snapshot`.
#[derive(Serialize)]
struct Taken {
    sequence: u64,
    stale_ms: u64,
    entries: Vec<show::Document>,
}

/// Arguments of `spanwire ctx snapshot`.
#[derive(Debug, clap::Args)]
pub(super) struct Snapshot {
    /// The space
    space: String,
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    level: Level,
}

pub(super) async fn snapshot(mut client: Client, args: Snapshot, context: &mut Context) -> Result<(), Failure> {
    let request =
        ContextSnapshotRequest { space: args.space, prefix: args.prefix, read: Some(args.level.to_message()) };
    let mut parts = client.contexts.snapshot(client.request(request)).await.map_err(failure)?.into_inner();
    let (mut sequence, mut stale_ms, mut entries) = (0, 0, Vec::new());
    while let Some(part) = parts.message().await.map_err(failure)? {
        stale_ms = part.stale_ms.max(stale_ms);
        match part.part {
            Some(Part::Sequence(at)) => sequence = at,
            Some(Part::Entry(entry)) => entries.push(entry),
            None => {}
        }
    }
    if context.out.json {
        let entries = entries.iter().map(show::entry_json).collect::<Result<_, _>>()?;
        context.out.document(&Taken { sequence, stale_ms, entries })?;
        return Ok(());
    }
    stale(stale_ms);
    let now_ms = now_ms();
    let mut headers = show::ENTRY.to_vec();
    headers.push("value");
    let row = |entry: &_| {
        let mut row = show::row(entry, now_ms);
        row.push(show::value_cell(&entry.value_json));
        row
    };
    context.out.table(&headers, entries.iter().map(row).collect())?;
    note(format!("as of sequence {sequence}: a watch goes on with --from {}", sequence + 1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_from_0_is_not_one_from_now() {
        assert_eq!([None, Some(0), Some(1), Some(7)].map(wire_from), [0, 1, 1, 7]);
    }
}
