//! What the context says, as messages.

use bytes::Bytes;
use spanwire_context::{
    Contexts, Event, EventKind, EventPage, Item, Quotas, Seen, SpaceInfo, SpaceName, SpacePage, Writer, Written,
};
use spanwire_mcp::Json;
use spanwire_rpc::v1;
use uuid::Uuid;

fn bytes(value: Option<Json>) -> Bytes {
    value.map(|json| json.as_bytes().clone()).unwrap_or_default()
}

fn author(writer: &Writer) -> v1::ContextAuthor {
    v1::ContextAuthor {
        principal: writer.principal.to_string(),
        node: writer.node.to_string(),
        call_id: writer.call.map(|call| call.to_string()).unwrap_or_default(),
        trace_id: writer.trace.as_deref().unwrap_or_default().to_owned(),
        span_id: writer.span.as_deref().unwrap_or_default().to_owned(),
    }
}

/// A key.
pub(super) fn entry(item: Item) -> v1::ContextEntry {
    v1::ContextEntry {
        key: item.key.to_string(),
        version: item.version,
        value_json: bytes(item.value),
        bytes: item.bytes,
        created: item.created,
        written_unix_ms: item.time_ms,
        expires_unix_ms: item.due_ms.unwrap_or_default(),
        author: Some(author(&item.writer)),
    }
}

/// A write that was done.
pub(super) fn written(written: Written, operation: Option<Uuid>) -> v1::ContextWriteResponse {
    v1::ContextWriteResponse {
        sequence: written.sequence,
        operation: operation.map(|id| id.to_string()).unwrap_or_default(),
        written: written
            .results
            .into_iter()
            .map(|done| v1::ContextWritten {
                key: done.key.to_string(),
                version: done.version.unwrap_or_default(),
                changed: done.changed,
                length: done.length.unwrap_or_default(),
            })
            .collect(),
    }
}

/// A change.
pub(super) fn event(event: Event) -> v1::ContextEvent {
    let change = match event.kind {
        EventKind::Put => v1::ContextChange::Put,
        EventKind::Patch => v1::ContextChange::Patch,
        EventKind::Append => v1::ContextChange::Append,
        EventKind::Delete => v1::ContextChange::Delete,
        EventKind::Expire => v1::ContextChange::Expire,
        EventKind::Drop => v1::ContextChange::Drop,
    };
    v1::ContextEvent {
        change: change.into(),
        sequence: event.sequence,
        index: u32::from(event.index),
        key: event.key.map(|key| key.to_string()).unwrap_or_default(),
        version: event.version.unwrap_or_default(),
        value_json: bytes(event.value),
        bytes: event.bytes,
        written_unix_ms: event.time_ms,
        author: Some(author(&event.writer)),
    }
}

/// A page of changes.
pub(super) fn log(seen: Seen<EventPage>) -> v1::ContextLogResponse {
    v1::ContextLogResponse {
        events: seen.value.events.into_iter().map(event).collect(),
        next: seen.value.next.unwrap_or_default(),
        first: seen.value.first,
        sequence: seen.sequence,
        stale_ms: seen.stale_ms.unwrap_or_default(),
    }
}

/// The last changes of one key.
pub(super) fn versions(seen: Seen<Vec<Event>>) -> v1::ContextLogResponse {
    let first = seen.value.first().map_or(0, |event| event.sequence);
    log(seen.map(|events| EventPage { events, next: None, first }))
}

/// The parts of a snapshot.
pub(super) fn snapshot(seen: Seen<Vec<Item>>) -> impl Iterator<Item = v1::ContextSnapshotPart> + Send {
    use v1::context_snapshot_part::Part;
    let stale_ms = seen.stale_ms.unwrap_or_default();
    let head = v1::ContextSnapshotPart { part: Some(Part::Sequence(seen.sequence)), stale_ms };
    let entries = seen.value.into_iter().map(|item| Part::Entry(entry(item)));
    std::iter::once(head).chain(entries.map(|part| v1::ContextSnapshotPart { part: Some(part), stale_ms: 0 }))
}

fn space(info: &SpaceInfo) -> v1::ContextSpace {
    v1::ContextSpace {
        name: info.name.to_string(),
        keys: info.keys,
        bytes: info.bytes,
        events: info.events,
        log_bytes: info.log_bytes,
        first: info.first,
        last: info.last,
    }
}

/// A page of spaces.
pub(super) fn spaces(page: SpacePage) -> v1::ContextListSpacesResponse {
    v1::ContextListSpacesResponse {
        spaces: page.spaces.iter().map(space).collect(),
        next: page.next.map(|next| next.to_string()).unwrap_or_default(),
        stale_ms: page.stale_ms.unwrap_or_default(),
    }
}

/// A space; without one when it is not there.
pub(super) fn description(
    seen: Seen<Option<SpaceInfo>>,
    name: &SpaceName,
    quotas: &Quotas,
) -> v1::ContextDescribeSpaceResponse {
    v1::ContextDescribeSpaceResponse {
        space: seen.value.as_ref().map(space),
        quotas: Some(v1::ContextQuotas {
            value_bytes: quotas.value_bytes,
            keys: quotas.keys,
            bytes: quotas.bytes,
            log_events: quotas.log_events,
            log_bytes: quotas.log_bytes,
            operations: quotas.operations,
        }),
        shard: Contexts::shard_of(name).to_string(),
        sequence: seen.sequence,
        stale_ms: seen.stale_ms.unwrap_or_default(),
    }
}
