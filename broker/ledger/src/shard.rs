//! One shard on this node: what readers see, and what the writer thread does to it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use spanwire_model::{Machine, Receipt, Shard, StoreError, Write};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::{
    cells::Cells,
    error::ApplyError,
    operations,
    position::{Hash, Position},
    step::Step,
    store::Tree,
    view::{self, Changes},
};

/// Hashes that are remembered, for comparing with checkpoints. One is appended every 1,000 entries, at least.
const HASHES_KEPT: usize = 4096;

/// Bytes of changes that are kept aside for one snapshot that is being taken. Above this the snapshot fails, and is taken again later.
const PIN_BYTES: usize = 128 * 1024 * 1024;

/// One shard.
pub(crate) struct ShardCell {
    pub(crate) shard: Shard,
    pub(crate) machine: Arc<dyn Machine>,
    pub(crate) applied: watch::Sender<u64>,
    /// Held by whoever makes the view anew.
    pub(crate) renewing: Mutex<()>,
    live: RwLock<Live>,
}

/// What changes with every entry. The lock is short: for readers as long as they read, for the writer as long as sled takes for a batch in memory.
pub(crate) struct Live {
    pub(crate) cells: Cells,
    /// As far as the store has it.
    pub(crate) head: Position,
    /// As far as readers see it: what a crash would not take back.
    pub(crate) published: Position,
    /// What `head` has changed since `published`, as it was before.
    pub(crate) undo: Changes,
    pub(crate) stopped: Option<ApplyError>,
    pins: BTreeMap<u64, Pin>,
    next_pin: u64,
    hashes: VecDeque<(u64, Hash)>,
}

/// What was there when a snapshot began, as far as it has changed since.
struct Pin {
    before: Changes,
    bytes: usize,
    broken: bool,
}

impl ShardCell {
    pub(crate) fn new(shard: Shard, machine: Arc<dyn Machine>, cells: Cells, position: Position) -> Self {
        let newer = position.version > machine.version();
        let stopped = newer.then(|| ApplyError::Newer {
            shard,
            sequence: position.sequence,
            text: format!("the view holds commands of version {}, known is {}", position.version, machine.version()),
        });
        let live = Live {
            cells,
            head: position.clone(),
            undo: Changes::new(),
            stopped,
            pins: BTreeMap::new(),
            next_pin: 0,
            hashes: VecDeque::from([(position.sequence, position.hash)]),
            published: position,
        };
        let applied = watch::Sender::new(live.published.sequence);
        Self { shard, machine, applied, renewing: Mutex::new(()), live: RwLock::new(live) }
    }

    pub(crate) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what one entry does part of the view. On the writer thread. `hidden` until it is published.
    pub(crate) fn commit(&self, tree: &Tree, step: Step, more: Vec<Write>, hidden: bool) -> Result<(), StoreError> {
        let (cells, wanted) = {
            let live = self.live();
            (live.cells.clone(), hidden || !live.pins.is_empty())
        };
        let mut writes = more;
        let mut before = Vec::new();
        for (key, value) in &step.changes {
            if wanted {
                before.push((key.clone(), cells.get(key)?));
            }
            cells.change(key, value.as_deref(), &mut writes)?;
        }
        writes.push(position_write(self.shard, &step.position));
        let mut live = self.live_mut();
        if !wanted && !live.pins.is_empty() {
            // A snapshot began meanwhile: nothing of this entry may be in it.
            for key in step.changes.keys() {
                before.push((key.clone(), cells.get(key)?));
            }
        }
        tree.apply(&writes)?;
        for (key, value) in before {
            live.keep(key, value, hidden);
        }
        live.hashes.push_back((step.position.sequence, step.position.hash));
        if live.hashes.len() > HASHES_KEPT {
            live.hashes.pop_front();
        }
        live.head = step.position;
        if !hidden {
            live.published = live.head.clone();
        }
        Ok(())
    }

    /// Shows readers all that was committed.
    pub(crate) fn publish(&self) {
        let mut live = self.live_mut();
        live.published = live.head.clone();
        live.undo.clear();
        let sequence = live.published.sequence;
        drop(live);
        self.applied.send_replace(sequence);
    }

    /// Goes no further.
    pub(crate) fn stop(&self, error: ApplyError) {
        self.live_mut().stopped.get_or_insert(error);
        // Whoever waits for an entry looks again.
        self.applied.send_modify(|_| {});
    }

    /// Puts another view in the place of this one; readers see one or the other.
    pub(crate) fn replace(&self, tree: &Tree, cells: Cells, position: Position) -> Result<(), StoreError> {
        let mut live = self.live_mut();
        tree.apply(&[position_write(self.shard, &position)])?;
        live.cells = cells;
        live.undo.clear();
        live.stopped = None;
        live.hashes = VecDeque::from([(position.sequence, position.hash)]);
        live.pins.values_mut().for_each(|pin| pin.broken = true);
        live.published = position.clone();
        live.head = position;
        Ok(())
    }

    /// Changes the position and leaves the view as it is.
    pub(crate) fn amend(&self, tree: &Tree, position: Position) -> Result<(), StoreError> {
        let mut live = self.live_mut();
        tree.apply(&[position_write(self.shard, &position)])?;
        live.head = position;
        Ok(())
    }

    /// The receipt of an operation, as far as the store has it.
    pub(crate) fn outcome(&self, operation: Uuid, published: bool) -> Result<Option<Receipt>, StoreError> {
        let live = self.live();
        let none = Changes::new();
        let changes = if published { &live.undo } else { &none };
        let record = view::get(&live.cells, changes, &operations::key(operation))?;
        record.map(|record| operations::receipt(&record)).transpose()
    }

    /// The hash after an entry, where it is still known.
    pub(crate) fn hash_at(&self, sequence: u64) -> Option<Hash> {
        self.live().hashes.iter().rev().find(|(known, _)| *known == sequence).map(|(_, hash)| *hash)
    }

    /// Holds on to what readers see now; returns it with its position.
    pub(crate) fn pin(self: &Arc<Self>) -> Pinned {
        let mut live = self.live_mut();
        live.next_pin += 1;
        let id = live.next_pin;
        let bytes = live.undo.iter().map(|(key, value)| size(key, value.as_ref())).sum();
        let pin = Pin { before: live.undo.clone(), bytes, broken: false };
        live.pins.insert(id, pin);
        Pinned { cell: self.clone(), id, position: live.published.clone() }
    }
}

impl Live {
    fn keep(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, hidden: bool) {
        for pin in self.pins.values_mut().filter(|pin| !pin.broken && !pin.before.contains_key(&key)) {
            pin.bytes += size(&key, value.as_ref());
            pin.broken = pin.bytes > PIN_BYTES;
            match pin.broken {
                true => pin.before.clear(),
                false => drop(pin.before.insert(key.clone(), value.clone())),
            }
        }
        if hidden {
            self.undo.entry(key).or_insert(value);
        }
    }
}

fn size(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    key.len() + value.map_or(0, Vec::len)
}

/// A view as it was, while entries go on being applied.
pub(crate) struct Pinned {
    cell: Arc<ShardCell>,
    id: u64,
    pub(crate) position: Position,
}

impl Pinned {
    /// Keys after `after` with their values, of all classes: at least one, where there is one, and about `bytes` of them.
    pub(crate) fn page(&self, after: Option<&[u8]>, bytes: usize) -> Result<Vec<spanwire_model::Pair>, ApplyError> {
        let shard = self.cell.shard;
        let live = self.cell.live();
        let Some(pin) = live.pins.get(&self.id).filter(|pin| !pin.broken) else {
            let text = "the view changed too much while it was read; try again".to_owned();
            return Err(ApplyError::Snapshot { shard, text });
        };
        let (mut page, mut size) = (Vec::new(), 0);
        for item in view::iter(&live.cells, &pin.before, b"", after) {
            let (key, value) = item.map_err(|error| ApplyError::store(shard, error))?;
            size += key.len() + value.len();
            page.push((key, value));
            if size >= bytes {
                break;
            }
        }
        Ok(page)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.cell.live_mut().pins.remove(&self.id);
    }
}

/// What all keys of a shard begin with.
pub(crate) fn prefix(shard: Shard) -> Vec<u8> {
    format!("ledger/{shard}/").into_bytes()
}

/// What the keys of a view of a shard begin with.
pub(crate) fn view_prefix(shard: Shard, generation: u32) -> Vec<u8> {
    format!("ledger/{shard}/{generation:08x}/").into_bytes()
}

/// What the keys of a log that this node keeps itself begin with. It sorts after all views.
pub(crate) fn log_prefix(shard: Shard) -> Vec<u8> {
    format!("ledger/{shard}/log/").into_bytes()
}

pub(crate) fn position_key(shard: Shard) -> Vec<u8> {
    format!("ledger/{shard}/position").into_bytes()
}

/// A position always has a JSON form.
pub(crate) fn position_write(shard: Shard, position: &Position) -> Write {
    Write::Put { key: position_key(shard), value: serde_json::to_vec(position).unwrap_or_default() }
}
