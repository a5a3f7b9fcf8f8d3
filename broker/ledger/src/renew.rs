//! A view in the place of another: snapshots are taken and installed, views are begun anew, and what is left of old ones is removed.
//!
//! A new view is built beside the old one, under a number of its own; one write of the position puts it in its place. A crash before that
//! leaves the old view and some keys that the next start removes.

use std::io;

use spanwire_model::{Shard, StoreError, Write};
use tokio::sync::oneshot;

use crate::{
    SledStore,
    applier::{Applier, finish},
    cells::Cells,
    error::ApplyError,
    kept,
    position::Position,
    shard,
    snapshot::{self, Header},
    store::{Done, Tree},
};

/// Keys that are removed at a time.
const REMOVED_AT_ONCE: usize = 512;

impl Applier {
    /// Makes the log that this node keeps itself begin after the view, when it holds nothing.
    pub(crate) async fn begin_log(&self, shard: Shard) -> Result<(), StoreError> {
        let Ok(cell) = self.cell(shard) else { return Ok(()) };
        let head = cell.live().head.clone();
        let empty = kept::entries(self.store().tree(), shard, 0).next().is_none();
        if !empty || head.first == head.sequence + 1 {
            return Ok(());
        }
        let position = |head: Position| Position { first: head.sequence + 1, log_bytes: 0, ..head };
        let begun = self.replace(shard, None, position).await;
        begun.map_err(|_| StoreError::Closed)
    }

    /// Notes which stream the shard's entries come from.
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
        let cells = Cells::new(self.store().tree(), shard::view_prefix(shard, generation));
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
    pub(crate) async fn clear(&self, shard: Shard) -> Result<(), ApplyError> {
        let cell = self.cell(shard)?.clone();
        let _renewing = cell.renewing.lock().await;
        let generation = cell.live().head.generation.wrapping_add(1);
        let cells = Cells::new(self.store().tree(), shard::view_prefix(shard, generation));
        self.remove_all(shard, &cells).await?;
        let position = Position { generation, first: 1, ..Position::default() };
        self.replace(shard, Some(cells), move |_| position).await
    }

    /// Reads a snapshot into cells that nobody sees yet.
    async fn fill<R>(&self, shard: Shard, cells: Cells, mut reader: R) -> Result<(Header, R), ApplyError>
    where
        R: io::Read + Send + 'static,
    {
        let store = self.store().clone();
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
        self.store().submit(Box::new(job)).await.map_err(|error| ApplyError::store(shard, error))?;
        done.await.map_err(|_| ApplyError::store(shard, StoreError::Closed))??;
        if renewed {
            let position = self.position(shard)?;
            let removed = remove_strangers(self.store(), shard, &position).await;
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
            remove(self.store(), keys).await.map_err(failed)?;
        }
    }
}

/// Removes what belongs to no current view, and entries before the first of the log.
pub(crate) async fn remove_strangers(store: &SledStore, shard: Shard, position: &Position) -> Result<(), StoreError> {
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
