//! A space that goes with everything in it.

use spanwire_mcp::Json;
use spanwire_model::{Entry, StoreError, ViewMut};

use super::{Stop, outcome, space::Space};
use crate::{
    Key, Quotas, SpaceName, Writer,
    command::Dropped,
    layout::{self, EventRecord, MetaRecord},
    reads,
};

/// Dropped spaces that a shard knows of. Watchers of older ones are told that events may be missing.
const MAX_KNOWN: u64 = 1000;
/// How many keys of the view are taken at a time.
const PIECE: usize = 64;

/// Removes a space.
pub(super) fn apply(view: &mut dyn ViewMut, entry: &Entry, name: &SpaceName) -> Result<Json, Stop> {
    // Of what was before, nothing is kept.
    let writer = Writer::from(&entry.command.author);
    outcome(&Dropped { keys: remove(view, entry, writer, name, entry.sequence)? })
}

/// Removes a space; returns how many keys it had. `None` when it was not there. From `floor` on all of its events are kept, which is that of
/// its end, with who it was as `writer`. An entry removes one space at most.
pub(super) fn remove(
    view: &mut dyn ViewMut,
    entry: &Entry,
    writer: Writer,
    name: &SpaceName,
    floor: u64,
) -> Result<Option<u64>, Stop> {
    let Some(record) = reads::space_record(view, name)?.filter(|record| record.dropped.is_none()) else {
        return Ok(None);
    };
    remove_keys(view, name)?;
    remove_events(view, name)?;
    Space::open(view, entry, name, Quotas::CEILING)?.drop(writer, floor)?;
    view.put(layout::dropped(entry.sequence), name.as_str().as_bytes().to_vec());
    let mut shard = reads::shard_record(view)?;
    shard.spaces = shard.spaces.saturating_sub(1);
    shard.dropped += 1;
    if shard.dropped > MAX_KNOWN
        && let Some((at, oldest)) = view.scan(layout::DROPPED, None, 1)?.pop()
    {
        let oldest: SpaceName = layout::name_after(&oldest, b"")?;
        if let Some(record) = reads::space_record(view, &oldest)? {
            shard.floor = shard.floor.max(record.dropped.unwrap_or(record.floor) + 1);
        }
        remove_events(view, &oldest)?;
        view.delete(&layout::space(&oldest));
        view.delete(&at);
        shard.dropped -= 1;
    }
    view.put(layout::SHARD.to_vec(), layout::encode(&shard)?);
    Ok(Some(record.keys))
}

fn remove_keys(view: &mut dyn ViewMut, name: &SpaceName) -> Result<(), StoreError> {
    let prefix = layout::meta(name, "");
    // What is gone need not be passed again.
    let mut after: Option<Vec<u8>> = None;
    loop {
        let piece = view.scan(&prefix, after.as_deref(), PIECE)?;
        let Some((last, _)) = piece.last() else { return Ok(()) };
        after = Some(last.clone());
        for (at, meta) in piece {
            let key: Key = layout::name_after(&at, &prefix)?;
            let meta: MetaRecord = layout::decode(&meta)?;
            if let Some(due_ms) = meta.due_ms {
                view.delete(&layout::due(due_ms, name, &key));
            }
            view.delete(&layout::value(name, key.as_str()));
            view.delete(&at);
        }
    }
}

fn remove_events(view: &mut dyn ViewMut, name: &SpaceName) -> Result<(), StoreError> {
    let prefix = layout::events(name);
    // What is gone need not be passed again.
    let mut after: Option<Vec<u8>> = None;
    loop {
        let piece = view.scan(&prefix, after.as_deref(), PIECE)?;
        let Some((last, _)) = piece.last() else { return Ok(()) };
        after = Some(last.clone());
        for (at, event) in piece {
            let (sequence, index) = layout::number_of(&at)?;
            let event: EventRecord = layout::decode(&event)?;
            if let Some(key) = &event.key {
                view.delete(&layout::version(name, key, sequence, index));
            }
            view.delete(&at);
        }
    }
}
