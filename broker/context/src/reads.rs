//! What is in a view: pure functions of it.

use spanwire_mcp::Json;
use spanwire_model::{StoreError, View};

use crate::{
    Event, EventPage, Item, ItemPage, Key, ListQuery, LogQuery, MAX_PAGE, MAX_PAGE_BYTES, SpaceInfo, SpaceName,
    layout::{self, EventRecord, MetaRecord, ShardRecord, SpaceRecord},
};

/// How many keys are taken from the view at a time.
const PIECE: usize = 64;

type Result<T> = std::result::Result<T, StoreError>;

pub(crate) fn shard_record(view: &dyn View) -> Result<ShardRecord> {
    view.get(layout::SHARD)?.map_or_else(|| Ok(ShardRecord::default()), |bytes| layout::decode(&bytes))
}

/// What is known of a space, also of one that was dropped.
pub(crate) fn space_record(view: &dyn View, space: &SpaceName) -> Result<Option<SpaceRecord>> {
    view.get(&layout::space(space))?.map(|bytes| layout::decode(&bytes)).transpose()
}

pub(crate) fn meta_record(view: &dyn View, space: &SpaceName, key: &Key) -> Result<Option<MetaRecord>> {
    view.get(&layout::meta(space, key.as_str()))?.map(|bytes| layout::decode(&bytes)).transpose()
}

/// A key with its value.
pub(crate) fn item(view: &dyn View, space: &SpaceName, key: &Key) -> Result<Option<Item>> {
    let Some(meta) = meta_record(view, space, key)? else { return Ok(None) };
    let value = value(view, space, key)?;
    Ok(Some(item_of(key.clone(), meta, value)))
}

pub(crate) fn value(view: &dyn View, space: &SpaceName, key: &Key) -> Result<Option<Json>> {
    Ok(view.get(&layout::value(space, key.as_str()))?.map(Json::from_trusted))
}

fn item_of(key: Key, meta: MetaRecord, value: Option<Json>) -> Item {
    let MetaRecord { version, created, time_ms, due_ms, bytes, length: _, writer } = meta;
    Item { key, version, created, time_ms, due_ms, bytes, writer, value }
}

/// A page of keys that `may` allows.
pub(crate) fn list(
    view: &dyn View,
    space: &SpaceName,
    query: &ListQuery,
    may: &dyn Fn(&Key) -> bool,
) -> Result<ItemPage> {
    let limit = if query.limit == 0 { MAX_PAGE } else { query.limit.min(MAX_PAGE) };
    let mut page = ItemPage { items: Vec::new(), next: None };
    let mut bytes = 0;
    each_meta(view, space, &query.prefix, query.after.as_ref(), &mut |key, meta| {
        if !may(&key) {
            return Ok(true);
        }
        if page.items.len() >= limit || bytes >= MAX_PAGE_BYTES {
            page.next = page.items.last().map(|item| item.key.clone());
            return Ok(false);
        }
        let value = if query.values { value(view, space, &key)? } else { None };
        bytes += value.as_ref().map_or(0, |value| value.len() as u64);
        page.items.push(item_of(key, meta, value));
        Ok(true)
    })?;
    Ok(page)
}

/// All keys of a prefix that `may` allows, with their values; `None` when these are more than `max_bytes`.
pub(crate) fn snapshot(
    view: &dyn View,
    space: &SpaceName,
    prefix: &str,
    max_bytes: u64,
    may: &dyn Fn(&Key) -> bool,
) -> Result<Option<Vec<Item>>> {
    let (mut items, mut bytes) = (Vec::new(), 0_u64);
    each_meta(view, space, prefix, None, &mut |key, meta| {
        if may(&key) {
            bytes = bytes.saturating_add(key.as_str().len() as u64).saturating_add(meta.bytes);
            if bytes > max_bytes {
                return Ok(false);
            }
            let value = value(view, space, &key)?;
            items.push(item_of(key, meta, value));
        }
        Ok(true)
    })?;
    Ok((bytes <= max_bytes).then_some(items))
}

/// Visits keys in order until the visitor has enough.
pub(crate) fn each_meta(
    view: &dyn View,
    space: &SpaceName,
    prefix: &str,
    after: Option<&Key>,
    visit: &mut dyn FnMut(Key, MetaRecord) -> Result<bool>,
) -> Result<()> {
    let (all, prefix) = (layout::meta(space, ""), layout::meta(space, prefix));
    let mut after = after.map(|key| layout::meta(space, key.as_str()));
    loop {
        let piece = view.scan(&prefix, after.as_deref(), PIECE)?;
        let is_last = piece.len() < PIECE;
        for (at, bytes) in &piece {
            if !visit(layout::name_after(at, &all)?, layout::decode(bytes)?)? {
                return Ok(());
            }
        }
        match piece.into_iter().next_back() {
            Some((at, _)) if !is_last => after = Some(at),
            Some(_) | None => return Ok(()),
        }
    }
}

/// A page of events of the keys that `may` allows; `None` asks for the space itself, which reads like one that never was when it may not
/// be known. The caller compares `from` with what is kept.
pub(crate) fn log(
    view: &dyn View,
    space: &SpaceName,
    query: &LogQuery,
    may: &dyn Fn(Option<&Key>) -> bool,
) -> Result<EventPage> {
    let limit = if query.limit == 0 { MAX_PAGE } else { query.limit.min(MAX_PAGE) };
    let prefix = layout::events(space);
    // Nothing of the sequence before has a higher number than this.
    let mut after = (query.from > 0).then(|| layout::event(space, query.from - 1, u16::MAX));
    let record = if may(None) { space_record(view, space)? } else { None };
    let Some(record) = record else {
        return Ok(EventPage { events: Vec::new(), next: None, first: shard_record(view)?.floor });
    };
    let mut page = EventPage { events: Vec::new(), next: None, first: record.floor };
    if record.last < query.from {
        // What watchers see whose space was not written to.
        return Ok(page);
    }
    let mut bytes = 0;
    loop {
        let piece = view.scan(&prefix, after.as_deref(), PIECE)?;
        let is_last = piece.len() < PIECE;
        for (at, record) in &piece {
            let (sequence, index) = layout::number_of(at)?;
            let begins = page.events.last().is_none_or(|event: &Event| event.sequence != sequence);
            if begins && (page.events.len() >= limit || bytes >= MAX_PAGE_BYTES) {
                page.next = Some(sequence);
                return Ok(page);
            }
            let record: EventRecord = layout::decode(record)?;
            let told = record.key.as_ref().is_none_or(|key| key.as_str().starts_with(&query.prefix) && may(Some(key)));
            if told {
                let event = event_of(sequence, index, record, query.values);
                bytes += event.value.as_ref().map_or(0, |value| value.len() as u64);
                page.events.push(event);
            }
        }
        match piece.into_iter().next_back() {
            Some((at, _)) if !is_last => after = Some(at),
            Some(_) | None => return Ok(page),
        }
    }
}

fn event_of(sequence: u64, index: u16, record: EventRecord, values: bool) -> Event {
    let EventRecord { time_ms, kind, key, version, bytes, value, writer } = record;
    Event { sequence, index, time_ms, kind, key, version, bytes, value: value.filter(|_| values), writer }
}

/// The last events of one key, oldest first, as far as they are kept.
pub(crate) fn versions(view: &dyn View, space: &SpaceName, key: &Key, limit: usize) -> Result<Vec<Event>> {
    let limit = if limit == 0 { MAX_PAGE } else { limit.min(MAX_PAGE) };
    let prefix = layout::versions(space, key);
    let mut numbers = std::collections::VecDeque::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let piece = view.scan(&prefix, after.as_deref(), MAX_PAGE)?;
        let is_last = piece.len() < MAX_PAGE;
        for (at, _) in &piece {
            numbers.push_back(layout::number_of(at)?);
            if numbers.len() > limit {
                numbers.pop_front();
            }
        }
        match piece.into_iter().next_back() {
            Some((at, _)) if !is_last => after = Some(at),
            Some(_) | None => break,
        }
    }
    let mut events = Vec::with_capacity(numbers.len());
    for (sequence, index) in numbers {
        if let Some(record) = view.get(&layout::event(space, sequence, index))? {
            events.push(event_of(sequence, index, layout::decode(&record)?, true));
        }
    }
    Ok(events)
}

/// A space that is there.
pub(crate) fn describe(view: &dyn View, space: &SpaceName) -> Result<Option<SpaceInfo>> {
    Ok(space_record(view, space)?.and_then(|record| info_of(space.clone(), record)))
}

fn info_of(name: SpaceName, record: SpaceRecord) -> Option<SpaceInfo> {
    let SpaceRecord { keys, bytes, events, log_bytes, floor, last, dropped } = record;
    dropped.is_none().then_some(SpaceInfo { name, keys, bytes, events, log_bytes, first: floor, last })
}

/// The spaces of a shard that begin with a prefix and come after a name, at most `limit`.
pub(crate) fn spaces(
    view: &dyn View,
    prefix: &str,
    after: Option<&SpaceName>,
    limit: usize,
    may: &dyn Fn(&SpaceName) -> bool,
) -> Result<Vec<SpaceInfo>> {
    let prefix = [layout::SPACES, prefix.as_bytes()].concat();
    let mut after = after.map(layout::space);
    let mut found = Vec::new();
    loop {
        let piece = view.scan(&prefix, after.as_deref(), PIECE)?;
        let is_last = piece.len() < PIECE;
        for (at, record) in &piece {
            let name = layout::name_after(at, layout::SPACES)?;
            let info = info_of(name, layout::decode(record)?);
            found.extend(info.filter(|info| may(&info.name)));
            if found.len() >= limit {
                return Ok(found);
            }
        }
        match piece.into_iter().next_back() {
            Some((at, _)) if !is_last => after = Some(at),
            Some(_) | None => return Ok(found),
        }
    }
}

/// A space that is there and has no keys.
pub(crate) struct Empty {
    pub space: SpaceName,
    /// The entry that took its last key.
    pub last: u64,
    /// The time of that entry; `None` where not even the last event is kept.
    pub time_ms: Option<u64>,
}

/// Of the spaces of a shard that are there and have no keys, the one that was written to first; of those of one entry, the first by
/// name.
pub(crate) fn empty_for_longest(view: &dyn View) -> Result<Option<Empty>> {
    let Some((last, space)) = first_empty(view)? else { return Ok(None) };
    // What one entry did is kept or gone as a whole.
    let event = view.get(&layout::event(&space, last, 0))?;
    let time_ms = event.map(|event| layout::decode::<EventRecord>(&event)).transpose()?.map(|event| event.time_ms);
    Ok(Some(Empty { space, last, time_ms }))
}

fn first_empty(view: &dyn View) -> Result<Option<(u64, SpaceName)>> {
    let (mut found, mut after): (Option<(u64, SpaceName)>, Option<Vec<u8>>) = (None, None);
    loop {
        let piece = view.scan(layout::SPACES, after.as_deref(), PIECE)?;
        let is_last = piece.len() < PIECE;
        for (at, record) in &piece {
            let SpaceRecord { keys, last, dropped, .. } = layout::decode(record)?;
            let is_empty = keys == 0 && dropped.is_none();
            if is_empty && found.as_ref().is_none_or(|(first, _)| last < *first) {
                found = Some((last, layout::name_after(at, layout::SPACES)?));
            }
        }
        match piece.into_iter().next_back() {
            Some((at, _)) if !is_last => after = Some(at),
            Some(_) | None => return Ok(found),
        }
    }
}

/// When the next key is due, in milliseconds since 1970.
pub(crate) fn next_due(view: &dyn View) -> Result<Option<u64>> {
    let first = view.scan(layout::DUES, None, 1)?;
    first.first().map(|(at, _)| layout::due_of(at).map(|(due_ms, _, _)| due_ms)).transpose()
}
