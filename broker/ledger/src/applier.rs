//! The views of all shards of a node, as a cheap handle. Both ledgers feed it; it applies each entry once, in order, on the store's writer
//! thread, and readers see whole entries only.

use std::{collections::BTreeMap, io, sync::Arc};

use spanwire_model::{Book, Error, ErrorKind, Machine, OPERATIONS_KEPT, Read, Receipt, Shard, StoreError, Write};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::{
    SledStore,
    cells::Cells,
    error::ApplyError,
    kept,
    position::Position,
    prepare,
    shard::{self, ShardCell},
    snapshot::{self, Header},
    step,
    store::{Done, Tree},
    view::Reading,
};

pub(crate) use crate::step::Logged;

/// Keys that are removed at a time, when a view has been replaced.
const REMOVED_AT_ONCE: usize = 512;

/// How entries are applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Whether entries are flushed before readers see them. Not needed where another keeps the log: what is lost is applied again.
    pub(crate) flush: bool,
    /// Entries within which an operation id is known: the same on all nodes.
    pub(crate) operations_kept: u64,
}

impl Options {
    /// For a node whose store is the only place where its entries are.
    pub(crate) const ALONE: Self = Self { flush: true, operations_kept: OPERATIONS_KEPT };
    /// For a node that can read the log again.
    #[allow(dead_code, reason = "for the ledger in the cluster")]
    pub(crate) const FOLLOWER: Self = Self { flush: false, operations_kept: OPERATIONS_KEPT };
}

/// What became of entries that were to be applied.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The operations among those that were applied, with their receipts, in order.
    pub(crate) receipts: Vec<(Uuid, Receipt)>,
    /// Why the rest was not.
    pub(crate) error: Option<ApplyError>,
}

/// The views. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Applier {
    store: SledStore,
    shards: Arc<BTreeMap<Shard, Arc<ShardCell>>>,
    options: Options,
}

impl Applier {
    /// Opens the shards of those books that have a machine. What an interrupted installation left behind is removed.
    pub(crate) async fn open(
        store: SledStore,
        machines: &BTreeMap<Book, Arc<dyn Machine>>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let mut shards = BTreeMap::new();
        for shard in Shard::all() {
            let Some(machine) = machines.get(&shard.book) else { continue };
            let position = read_position(store.tree(), shard)?;
            remove_strangers(&store, shard, &position).await?;
            let cells = Cells::new(store.tree(), shard::view_prefix(shard, position.generation));
            shards.insert(shard, Arc::new(ShardCell::new(shard, machine.clone(), cells, position)));
        }
        Ok(Self { store, shards: Arc::new(shards), options })
    }

    /// The shards that are kept here.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard> + '_ {
        self.shards.keys().copied()
    }

    pub(crate) fn cell(&self, shard: Shard) -> Result<&Arc<ShardCell>, ApplyError> {
        self.shards.get(&shard).ok_or(ApplyError::Unknown(shard))
    }

    pub(crate) fn store(&self) -> &SledStore {
        &self.store
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    /// How far the shard is, as readers see it.
    pub(crate) fn position(&self, shard: Shard) -> Result<Position, ApplyError> {
        Ok(self.cell(shard)?.live().published.clone())
    }

    /// Why the shard goes no further.
    pub(crate) fn stopped(&self, shard: Shard) -> Result<Option<ApplyError>, ApplyError> {
        Ok(self.cell(shard)?.live().stopped.clone())
    }

    /// Applies entries that follow each other. Those that had been applied before are passed over. An error that stops the shard stays
    /// until the shard is opened, cleared or installed again.
    pub(crate) async fn apply(&self, shard: Shard, entries: Vec<Logged>) -> Result<Progress, ApplyError> {
        let cell = self.cell(shard)?.clone();
        let options = self.options;
        let (reply, done) = oneshot::channel();
        let job = move |tree: &Tree| {
            let mut progress = Progress { receipts: Vec::new(), error: None };
            for entry in &entries {
                match apply_one(&cell, tree, entry, options) {
                    Ok(receipt) => progress.receipts.extend(receipt),
                    Err(error) => {
                        if error.stops() {
                            cell.stop(error.clone());
                        }
                        progress.error = Some(error);
                        break;
                    }
                }
            }
            let then = move |flushed| {
                if let Err(error) = finish(&cell, flushed) {
                    progress = Progress { receipts: Vec::new(), error: Some(error) };
                }
                let _ = reply.send(progress);
            };
            Done { flush: options.flush, then: Box::new(then) }
        };
        self.store.submit(Box::new(job)).await.map_err(|error| ApplyError::store(shard, error))?;
        done.await.map_err(|_| ApplyError::store(shard, StoreError::Closed))
    }

    /// The receipt of an operation that was applied lately.
    pub(crate) fn outcome(&self, shard: Shard, operation: Uuid) -> Result<Option<Receipt>, ApplyError> {
        self.cell(shard)?.outcome(operation, true).map_err(|error| ApplyError::store(shard, error))
    }

    /// Reads the view, as it was after one entry. Nothing is applied to the shard meanwhile.
    pub(crate) fn read(&self, shard: Shard, read: &mut Read<'_>) -> spanwire_model::Result<()> {
        let live = self.cell(shard)?.live();
        read(&Reading { cells: &live.cells, changes: &live.undo }, live.published.sequence)
    }

    /// Tells of each entry that readers see.
    pub(crate) fn applied(&self, shard: Shard) -> Result<watch::Receiver<u64>, ApplyError> {
        Ok(self.cell(shard)?.applied.subscribe())
    }

    /// Waits until readers see an entry; returns the last one that they see.
    ///
    /// # Errors
    /// `DeadlineExceeded`; `Unavailable` for a shard that goes no further.
    pub(crate) async fn reach(&self, shard: Shard, wanted: u64, deadline: Instant) -> spanwire_model::Result<u64> {
        let cell = self.cell(shard)?.clone();
        let mut applied = cell.applied.subscribe();
        loop {
            let sequence = *applied.borrow_and_update();
            if sequence >= wanted {
                return Ok(sequence);
            }
            prepare::refuse_if_stopped(&cell)?;
            match timeout_at(deadline, applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    let text = format!("shard {shard} is at entry {sequence} and did not reach {wanted} in time");
                    return Err(Error::new(ErrorKind::DeadlineExceeded, text));
                }
            }
        }
    }

    /// Makes the log that this node keeps itself begin after the view, when it holds nothing.
    pub(crate) async fn begin_log(&self, shard: Shard) -> Result<(), StoreError> {
        let Ok(cell) = self.cell(shard) else { return Ok(()) };
        let head = cell.live().head.clone();
        let empty = kept::entries(self.store.tree(), shard, 0).next().is_none();
        if !empty || head.first == head.sequence + 1 {
            return Ok(());
        }
        let position = |head: Position| Position { first: head.sequence + 1, log_bytes: 0, ..head };
        let begun = self.replace(shard, None, position).await;
        begun.map_err(|_| StoreError::Closed)
    }

    /// Notes which stream the shard's entries come from.
    #[allow(dead_code, reason = "for the ledger in the cluster")]
    pub(crate) async fn bind(&self, shard: Shard, stream: String) -> Result<(), ApplyError> {
        let position = |head: Position| Position { stream: Some(stream), ..head };
        self.replace(shard, None, position).await
    }

    /// Writes the view, as it is now, to `writer`, while entries go on being applied. Returns the writer.
    pub(crate) async fn snapshot<W>(&self, shard: Shard, mut writer: W) -> Result<(Header, W), ApplyError>
    where
        W: io::Write + Send + 'static,
    {
        let cell = self.cell(shard)?.clone();
        blocking(shard, move || {
            let pinned = cell.pin();
            let header = snapshot::write(shard, &pinned, &mut writer)?;
            Ok((header, writer))
        })
        .await
    }

    /// Puts a snapshot in the place of the view. Readers see the old one until the new one is whole and checked.
    pub(crate) async fn install<R>(&self, shard: Shard, reader: R) -> Result<(Position, R), ApplyError>
    where
        R: io::Read + Send + 'static,
    {
        let cell = self.cell(shard)?.clone();
        let _renewing = cell.renewing.lock().await;
        let generation = cell.live().head.generation.wrapping_add(1);
        let cells = Cells::new(self.store.tree(), shard::view_prefix(shard, generation));
        self.remove_all(shard, &cells).await?;
        let read = self.fill(shard, cells.clone(), reader).await;
        let known = cell.machine.version();
        let read = read.and_then(|(header, reader)| match header.version > known {
            true => Err(ApplyError::Newer {
                shard,
                sequence: header.sequence,
                text: format!("the snapshot holds commands of version {}, known is {known}", header.version),
            }),
            false => Ok((header, reader)),
        });
        match read {
            Ok((header, reader)) => {
                let position = header.position(generation);
                let renewed = position.clone();
                self.replace(shard, Some(cells), move |_| renewed).await?;
                Ok((position, reader))
            }
            Err(error) => {
                self.remove_all(shard, &cells).await?;
                Err(error)
            }
        }
    }

    /// Forgets everything: the next entry is the first.
    #[allow(dead_code, reason = "for the ledger in the cluster")]
    pub(crate) async fn clear(&self, shard: Shard) -> Result<(), ApplyError> {
        let cell = self.cell(shard)?.clone();
        let _renewing = cell.renewing.lock().await;
        let generation = cell.live().head.generation.wrapping_add(1);
        let cells = Cells::new(self.store.tree(), shard::view_prefix(shard, generation));
        self.remove_all(shard, &cells).await?;
        let position = Position { generation, first: 1, ..Position::default() };
        self.replace(shard, Some(cells), move |_| position).await
    }

    /// Reads a snapshot into cells that nobody sees yet.
    async fn fill<R>(&self, shard: Shard, cells: Cells, mut reader: R) -> Result<(Header, R), ApplyError>
    where
        R: io::Read + Send + 'static,
    {
        let store = self.store.clone();
        let runtime = tokio::runtime::Handle::current();
        blocking(shard, move || {
            let header = snapshot::read(shard, &mut reader, |pairs| {
                let mut writes = Vec::new();
                for (key, value) in &pairs {
                    cells.change(key, Some(value), &mut writes)?;
                }
                runtime.block_on(store.write(writes, false))
            })?;
            Ok((header, reader))
        })
        .await
    }

    /// Changes the position, and with it the view when there is another one. Durable when it returns.
    async fn replace(
        &self,
        shard: Shard,
        cells: Option<Cells>,
        position: impl FnOnce(Position) -> Position + Send + 'static,
    ) -> Result<(), ApplyError> {
        let cell = self.cell(shard)?.clone();
        let (reply, done) = oneshot::channel();
        let renewed = cells.is_some();
        let job = move |tree: &Tree| {
            let head = cell.live().head.clone();
            let replaced = match cells {
                Some(cells) => cell.replace(tree, cells, position(head)),
                None => cell.amend(tree, position(head)),
            };
            let then = move |flushed| {
                let replaced = replaced.map_err(|error| ApplyError::store(cell.shard, error));
                let _ = reply.send(replaced.and_then(|()| finish(&cell, flushed)));
            };
            Done { flush: true, then: Box::new(then) }
        };
        self.store.submit(Box::new(job)).await.map_err(|error| ApplyError::store(shard, error))?;
        done.await.map_err(|_| ApplyError::store(shard, StoreError::Closed))??;
        if renewed {
            let position = self.position(shard)?;
            let removed = remove_strangers(&self.store, shard, &position).await;
            removed.map_err(|error| ApplyError::store(shard, error))?;
        }
        Ok(())
    }

    async fn remove_all(&self, shard: Shard, cells: &Cells) -> Result<(), ApplyError> {
        let failed = |error| ApplyError::store(shard, error);
        loop {
            let keys = cells.raw_keys(REMOVED_AT_ONCE).map_err(failed)?;
            if keys.is_empty() {
                return Ok(());
            }
            remove(&self.store, keys).await.map_err(failed)?;
        }
    }
}

/// Applies one entry; returns the operation with its receipt. On the writer thread.
fn apply_one(
    cell: &ShardCell,
    tree: &Tree,
    entry: &Logged,
    options: Options,
) -> Result<Option<(Uuid, Receipt)>, ApplyError> {
    let Some(mut step) = step::step(cell, entry, options.operations_kept)? else { return Ok(None) };
    let receipt = step.receipt.take();
    let committed = cell.commit(tree, step, Vec::new(), options.flush);
    committed.map_err(|error| ApplyError::store(cell.shard, error))?;
    Ok(receipt)
}

/// What follows the flush of a group: readers see it, or the shard stops.
pub(crate) fn finish(cell: &ShardCell, flushed: Result<(), Arc<StoreError>>) -> Result<(), ApplyError> {
    match flushed {
        Ok(()) => {
            cell.publish();
            Ok(())
        }
        Err(source) => {
            let error = ApplyError::Store { shard: cell.shard, source };
            cell.stop(error.clone());
            Err(error)
        }
    }
}

fn read_position(tree: &Tree, shard: Shard) -> Result<Position, StoreError> {
    let Some(value) = tree.get(&shard::position_key(shard))? else {
        return Ok(Position { first: 1, ..Position::default() });
    };
    let unreadable =
        |error: serde_json::Error| StoreError::Io { path: format!("position of shard {shard}"), source: error.into() };
    serde_json::from_slice(&value).map_err(unreadable)
}

/// Removes what belongs to no current view, and entries before the first of the log.
async fn remove_strangers(store: &SledStore, shard: Shard, position: &Position) -> Result<(), StoreError> {
    let log = shard::log_prefix(shard);
    let current = shard::view_prefix(shard, position.generation);
    let beyond = [current.as_slice(), &[0xff]].concat();
    remove_between(store, shard, None, &current).await?;
    remove_between(store, shard, Some(&beyond), &log).await?;
    let kept = Cells::new(store.tree(), log);
    loop {
        let old = kept.iter(b"", None).take(REMOVED_AT_ONCE);
        let old: Vec<Vec<u8>> = old.map(|item| item.map(|(key, _)| key)).collect::<Result<_, _>>()?;
        let mut writes = Vec::new();
        for key in old.iter().filter(|key| key.as_slice() < position.first.to_be_bytes().as_slice()) {
            kept.change(key, None, &mut writes)?;
        }
        if writes.is_empty() {
            return Ok(());
        }
        store.write(writes, false).await?;
    }
}

/// Removes the keys of a shard that come after `after` and before `before`.
async fn remove_between(
    store: &SledStore,
    shard: Shard,
    after: Option<&[u8]>,
    before: &[u8],
) -> Result<(), StoreError> {
    loop {
        let found = store.tree().iter(shard::prefix(shard), after).take(REMOVED_AT_ONCE);
        let keys = found.map(|item| item.map(|(key, _)| key)).collect::<Result<Vec<_>, _>>()?;
        let doomed: Vec<_> = keys.into_iter().take_while(|key| key.as_slice() < before).collect();
        if doomed.is_empty() {
            return Ok(());
        }
        remove(store, doomed).await?;
    }
}

async fn remove(store: &SledStore, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
    store.write(keys.into_iter().map(|key| Write::Delete { key }).collect(), false).await
}

async fn blocking<T: Send + 'static>(
    shard: Shard,
    work: impl FnOnce() -> Result<T, ApplyError> + Send + 'static,
) -> Result<T, ApplyError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApplyError::store(shard, StoreError::Closed))?
}

#[cfg(test)]
mod tests;
