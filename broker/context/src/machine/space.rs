//! One space while an entry changes it: its keys, its log, and what is counted.

use spanwire_mcp::Json;
use spanwire_model::{Entry, StoreError, ViewMut};

use super::{Stop, drop, refuse};
use crate::{
    EXPIRY, EventKind, Key, MAX_EVENT_VALUE, Quotas, SpaceName, Writer,
    command::{self, SPACES},
    layout::{self, EventRecord, MetaRecord, SpaceRecord},
    reads::{self, Empty},
};

/// Events that one entry evicts at most, give or take one write's: after a limit was lowered, the rest goes with the entries that follow.
const MAX_EVICTED: usize = 1024;

/// How long a space must have been without keys, by the log's own time, before it may go for a new one.
const MAKES_ROOM_AFTER_MS: u64 = 24 * 60 * 60 * 1000;

/// A space that an entry changes. Nothing is counted before [`Self::finish`].
pub(super) struct Space<'a> {
    pub(super) view: &'a mut dyn ViewMut,
    pub(super) entry: &'a Entry,
    pub(super) name: &'a SpaceName,
    quotas: Quotas,
    writer: Writer,
    before: Option<SpaceRecord>,
    record: SpaceRecord,
    /// The index of the next event of this entry.
    index: u16,
}

impl<'a> Space<'a> {
    pub(super) fn open(
        view: &'a mut dyn ViewMut,
        entry: &'a Entry,
        name: &'a SpaceName,
        quotas: Quotas,
    ) -> Result<Self, StoreError> {
        let before = reads::space_record(view, name)?;
        let record = match &before {
            Some(record) => record.clone(),
            None => SpaceRecord { floor: reads::shard_record(view)?.floor, ..SpaceRecord::default() },
        };
        let writer = Writer::from(&entry.command.author);
        Ok(Self { view, entry, name, quotas, writer, before, record, index: 0 })
    }

    pub(super) fn meta(&self, key: &Key) -> Result<Option<MetaRecord>, StoreError> {
        reads::meta_record(self.view, self.name, key)
    }

    pub(super) fn value(&self, key: &Key) -> Result<Option<Json>, StoreError> {
        reads::value(self.view, self.name, key)
    }

    /// Sets a key; `old` is what is known of it. `told` is what the event shows: the value itself when there is none.
    pub(super) fn set(&mut self, key: &Key, old: Option<&MetaRecord>, new: Set) -> Result<(), Stop> {
        let Set { kind, value, told, due_ms, length } = new;
        let bytes = value.len() as u64;
        if bytes > self.quotas.value_bytes {
            let what = format!("bytes of the value of key \"{key}\"");
            return Err(refuse::quota(&what, "value_bytes", bytes, self.quotas.value_bytes).into());
        }
        self.uncount(key, old);
        self.record.keys += 1;
        self.record.bytes += key.as_str().len() as u64 + bytes;
        let version = self.entry.sequence;
        let created = old.map_or(version, |old| old.created);
        let time_ms = self.entry.time_ms;
        let meta = MetaRecord { version, created, time_ms, due_ms, bytes, length, writer: self.writer.clone() };
        self.view.put(layout::meta(self.name, key.as_str()), layout::encode(&meta)?);
        self.view.put(layout::value(self.name, key.as_str()), value.as_bytes().to_vec());
        if let Some(due_ms) = due_ms {
            self.view.put(layout::due(due_ms, self.name, key), Vec::new());
        }
        self.tell(kind, Some(key), Some(version), bytes, Some(told.unwrap_or(value)))
    }

    /// Removes a key that is there.
    pub(super) fn remove(&mut self, kind: EventKind, key: &Key, old: &MetaRecord) -> Result<(), Stop> {
        self.uncount(key, Some(old));
        self.view.delete(&layout::meta(self.name, key.as_str()));
        self.view.delete(&layout::value(self.name, key.as_str()));
        self.tell(kind, Some(key), None, 0, None)
    }

    fn uncount(&mut self, key: &Key, old: Option<&MetaRecord>) {
        let Some(old) = old else { return };
        self.record.keys = self.record.keys.saturating_sub(1);
        self.record.bytes = self.record.bytes.saturating_sub(key.as_str().len() as u64 + old.bytes);
        if let Some(due_ms) = old.due_ms {
            self.view.delete(&layout::due(due_ms, self.name, key));
        }
    }

    /// Adds to the log.
    fn tell(
        &mut self,
        kind: EventKind,
        key: Option<&Key>,
        version: Option<u64>,
        bytes: u64,
        value: Option<Json>,
    ) -> Result<(), Stop> {
        let event = EventRecord {
            time_ms: self.entry.time_ms,
            kind,
            key: key.cloned(),
            version,
            bytes,
            value: value.filter(|value| value.len() <= MAX_EVENT_VALUE),
            writer: self.writer.clone(),
        };
        let event = layout::encode(&event)?;
        self.record.events += 1;
        self.record.log_bytes += event.len() as u64;
        self.view.put(layout::event(self.name, self.entry.sequence, self.index), event);
        if let Some(key) = key {
            self.view.put(layout::version(self.name, key, self.entry.sequence, self.index), Vec::new());
        }
        self.index += 1;
        Ok(())
    }

    /// Counts, evicts, and refuses what is too much. A space to which nothing happened stays as it was.
    pub(super) fn finish(mut self) -> Result<(), Stop> {
        if self.index == 0 {
            return Ok(());
        }
        self.check_quotas()?;
        self.record.last = self.entry.sequence;
        self.evict()?;
        self.enter()?;
        self.view.put(layout::space(self.name), layout::encode(&self.record)?);
        Ok(())
    }

    /// What was there before a limit was lowered may stay and become less.
    fn check_quotas(&self) -> Result<(), Stop> {
        let (keys, bytes) = self.before.as_ref().map_or((0, 0), |before| (before.keys, before.bytes));
        let name = self.name;
        if self.record.keys > self.quotas.keys.max(keys) {
            let what = format!("keys of space \"{name}\"");
            return Err(refuse::quota(&what, "keys", self.record.keys, self.quotas.keys).into());
        }
        if self.record.bytes > self.quotas.bytes.max(bytes) {
            let what = format!("bytes of space \"{name}\"");
            return Err(refuse::quota(&what, "bytes", self.record.bytes, self.quotas.bytes).into());
        }
        Ok(())
    }

    /// Lets the oldest events go until the log is within its limits. The events of one entry go together, so that what is kept is kept
    /// from one sequence on.
    fn evict(&mut self) -> Result<(), Stop> {
        let prefix = layout::events(self.name);
        let mut evicted = 0;
        loop {
            let is_over = self.record.events > self.quotas.log_events || self.record.log_bytes > self.quotas.log_bytes;
            if !is_over && evicted == 0 {
                return Ok(());
            }
            let Some((at, bytes)) = self.view.scan(&prefix, None, 1)?.pop() else { return Ok(()) };
            let (sequence, index) = layout::number_of(&at)?;
            let is_begun = self.record.floor == sequence + 1 && evicted > 0;
            if !is_begun && (!is_over || evicted >= MAX_EVICTED) {
                return Ok(());
            }
            let event: EventRecord = layout::decode(&bytes)?;
            self.view.delete(&at);
            if let Some(key) = &event.key {
                self.view.delete(&layout::version(self.name, key, sequence, index));
            }
            self.record.events = self.record.events.saturating_sub(1);
            self.record.log_bytes = self.record.log_bytes.saturating_sub(bytes.len() as u64);
            self.record.floor = sequence + 1;
            evicted += 1;
        }
    }

    /// A space that was not there is counted. Where there is no room for it, one that has long been without keys may go.
    fn enter(&mut self) -> Result<(), Stop> {
        let dropped = self.record.dropped.take();
        if self.before.is_some() && dropped.is_none() {
            return Ok(());
        }
        let mut shard = reads::shard_record(self.view)?;
        if let Some(sequence) = dropped {
            self.view.delete(&layout::dropped(sequence));
            shard.dropped = shard.dropped.saturating_sub(1);
            // Kept at once: a drop that follows must not count this one, or forget it.
            self.view.put(layout::SHARD.to_vec(), layout::encode(&shard)?);
        }
        if shard.spaces >= self.quotas.spaces {
            // One goes and one comes: where the limit was lowered, too, they do not become more.
            self.make_room(shard.spaces + 1)?;
            shard = reads::shard_record(self.view)?;
        }
        shard.spaces += 1;
        self.view.put(layout::SHARD.to_vec(), layout::encode(&shard)?);
        Ok(())
    }

    /// Drops the space that has been without keys for longest, if that is long enough: a log says who did what, and whoever may do no more
    /// than write must not be rid of what was written yesterday.
    fn make_room(&mut self, wanted: u64) -> Result<(), Stop> {
        let refused = |which: &str| {
            let what = format!("spaces of the shard of \"{}\", {which}", self.name);
            Stop::from(refuse::quota(&what, SPACES, wanted, self.quotas.spaces))
        };
        if self.entry.command.version < command::MAKES_ROOM {
            return Err(refused("where one without keys counts until it is dropped"));
        }
        let now_ms = self.entry.time_ms;
        let is_old = |time_ms: u64| time_ms.saturating_add(MAKES_ROOM_AFTER_MS) <= now_ms;
        match reads::empty_for_longest(self.view)? {
            Some(Empty { space, last, time_ms: Some(time_ms) }) if is_old(time_ms) => {
                let author = &self.entry.command.author;
                // Whoever wants room has nothing to do with this space, and is not named in it.
                let writer =
                    Writer { principal: EXPIRY.into(), node: author.node.clone(), call: None, trace: None, span: None };
                // Nothing happened since: whoever had followed it until then misses nothing.
                drop::remove(self.view, self.entry, writer, &space, last + 1)?;
                Ok(())
            }
            Some(_) | None => Err(refused(
                "none of which has been without keys for 24 hours; drop one that is not needed (that needs admin)",
            )),
        }
    }

    /// Leaves a space that was dropped and emptied with nothing but the news of it, and of who did it.
    pub(super) fn drop(mut self, writer: Writer, floor: u64) -> Result<(), Stop> {
        let sequence = self.entry.sequence;
        self.writer = writer;
        self.record = SpaceRecord { floor, last: sequence, dropped: Some(sequence), ..SpaceRecord::default() };
        self.tell(EventKind::Drop, None, None, 0, None)?;
        self.view.put(layout::space(self.name), layout::encode(&self.record)?);
        Ok(())
    }
}

/// What a key becomes.
pub(super) struct Set {
    pub(super) kind: EventKind,
    pub(super) value: Json,
    pub(super) told: Option<Json>,
    pub(super) due_ms: Option<u64>,
    pub(super) length: Option<u64>,
}
