//! `watch` and `snapshot`.

use serde::Serialize;
use spanwire_rpc::v1::{ContextSnapshotRequest, ContextWatchRequest, context_snapshot_part::Part};

use super::{Client, Level, read::stale, refused::failure, show};
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
    /// The first sequence: the last that was seen, whose changes may come again; pass over those that were seen already
    /// [default: what happens from now on]
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
}

pub(super) async fn watch(mut client: Client, args: Watch, context: &mut Context) -> Result<(), Failure> {
    let request = ContextWatchRequest {
        space: args.space,
        prefix: args.prefix,
        from: wire_from(args.from),
        without_values: false,
    };
    let mut events = client.contexts.watch(client.request(request)).await.map_err(failure)?.into_inner();
    if args.from.is_none() && !context.out.json {
        note(paint("from now on; --from 1 begins with what is kept of what happened", Tone::Dim));
    }
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
            Ok(None) => return Ok(()),
            Err(status) => {
                let failure = failure(status);
                // The last write may be torn: from its own sequence on nothing is missed.
                return Err(match (seen, &failure.hint) {
                    (Some(sequence), None) => failure.with_hint(format!("go on with --from {sequence}")),
                    (Some(_) | None, _) => failure,
                });
            }
        }
    }
}

/// On the wire 0 is "from now on". Sequences begin with 1, so who says 0 wants everything.
fn wire_from(from: Option<u64>) -> u64 {
    from.map_or(0, |from| from.max(1))
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
