//! The views of all shards of a node, as a cheap handle. Both ledgers feed it; it applies each entry once, in order, on the store's writer
//! thread, and readers see whole entries only.

use std::{collections::BTreeMap, sync::Arc};

use spanwire_model::{Book, Error, ErrorKind, Machine, OPERATIONS_KEPT, Read, Receipt, Shard, StoreError};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use crate::{
    SledStore,
    cells::Cells,
    error::ApplyError,
    position::Position,
    prepare,
    renew::remove_strangers,
    shard::{self, ShardCell},
    step::{self, Voice},
    store::{Done, Tree},
    view::Reading,
};

pub(crate) use crate::step::Logged;

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
    pub(crate) const FOLLOWER: Self = Self { flush: false, operations_kept: OPERATIONS_KEPT };
}

/// What became of entries that were to be applied.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The operations among those that were applied, with their receipts, in order.
    pub(crate) receipts: Vec<(Uuid, Receipt)>,
    /// What checkpoints among them say, in order.
    pub(crate) voices: Vec<Voice>,
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
            let mut progress = Progress::default();
            for entry in &entries {
                match apply_one(&cell, tree, entry, options, &mut progress) {
                    Ok(()) => {}
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
                    progress = Progress { error: Some(error), ..Progress::default() };
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
}

/// Applies one entry, and notes what came of it. On the writer thread.
fn apply_one(
    cell: &ShardCell,
    tree: &Tree,
    entry: &Logged,
    options: Options,
    progress: &mut Progress,
) -> Result<(), ApplyError> {
    let Some(mut step) = step::step(cell, entry, options.operations_kept)? else { return Ok(()) };
    let (receipt, voice) = (step.receipt.take(), step.voice.take());
    let committed = cell.commit(tree, step, Vec::new(), options.flush);
    committed.map_err(|error| ApplyError::store(cell.shard, error))?;
    progress.receipts.extend(receipt);
    progress.voices.extend(voice);
    Ok(())
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

#[cfg(test)]
mod tests;
