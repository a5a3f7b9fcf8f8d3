//! All of a node in one file: what it keeps for itself, and a snapshot of every shard.
//!
//! Two kinds of parts follow each other, each sealed (`sealed.rs`): `spanwire backup 1`, whose header says which shards follow and which
//! holds the node's own keys; then the snapshots. Each shard is as it was after one entry; the shards are not of one moment.
//!
//! Not in it: the secrets of the node, which are files of their own, and the logs. What is restored continues where the snapshots end.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spanwire_model::{Book, Machine, NodeId, Shard, StoreError};
use tokio::sync::mpsc;

use crate::{
    Durability, SledStore,
    applier::{Applier, Options},
    error::ApplyError,
    sealed::{Opening, Sealing},
    snapshot,
};

/// What a backup begins with.
const FORM: &[u8] = b"spanwire backup 1\n";

/// Bytes of one piece of a backup that is streamed.
const PIECE_BYTES: usize = 256 * 1024;

/// Pieces that wait for a slow reader.
const PIECES: usize = 4;

/// Keys of the node's own that are written at a time.
const OWN_AT_ONCE: usize = 256;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// The node that made it.
    node: NodeId,
    /// The snapshots that follow, in order.
    shards: Vec<ShardForm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ShardForm {
    book: Book,
    number: u16,
}

impl From<Shard> for ShardForm {
    fn from(shard: Shard) -> Self {
        Self { book: shard.book, number: shard.number }
    }
}

impl From<ShardForm> for Shard {
    fn from(shard: ShardForm) -> Self {
        Self { book: shard.book, number: shard.number }
    }
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The node that made it.
    pub node: NodeId,
    /// Keys of the node's own.
    pub own: usize,
    /// Each shard, and the last entry that its snapshot holds.
    pub shards: Vec<(Shard, u64)>,
}

/// Why there is no backup, or none was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading or writing failed, or what was read is no whole backup.
    #[error("{0}")]
    File(#[from] io::Error),
    /// A shard cannot be read, or its snapshot cannot be used.
    #[error("{0}")]
    Shard(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is something where it is to be restored.
    #[error("{0} is there already: a backup is restored where nothing is")]
    NotEmpty(String),
}

impl From<ApplyError> for BackupError {
    fn from(error: ApplyError) -> Self {
        Self::Shard(error.to_string())
    }
}

/// Makes backups of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    applier: Applier,
    node: NodeId,
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Backups {
    pub(crate) fn new(applier: Applier, node: NodeId) -> Self {
        Self { applier, node }
    }

    /// Writes a backup, while the node goes on. Returns the writer.
    ///
    /// # Errors
    /// When the store or the writer fails. What was written then is not whole, and does not pass for it.
    pub async fn write<W: Write + Send + 'static>(&self, mut writer: W) -> Result<W, BackupError> {
        let shards: Vec<Shard> = self.applier.shards().collect();
        let header = Header { node: self.node.clone(), shards: shards.iter().copied().map(ShardForm::from).collect() };
        let tree = self.applier.store().clone();
        let mut writer = tokio::task::spawn_blocking(move || {
            let mut sealing = Sealing::begin(&mut writer, FORM, &header)?;
            for pair in tree.own() {
                let (key, value) = pair?;
                sealing.pair(&key, &value)?;
            }
            sealing.seal()?;
            Ok::<_, BackupError>(writer)
        })
        .await
        .map_err(|_| StoreError::Closed)??;
        for shard in shards {
            (_, writer) = self.applier.snapshot(shard, writer).await?;
        }
        writer.flush()?;
        Ok(writer)
    }

    /// The same in pieces. The last is an error when it is not whole. Dropping the receiver ends it.
    pub fn stream(&self) -> mpsc::Receiver<Result<Bytes, BackupError>> {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let backups = self.clone();
        tokio::spawn(async move {
            let writer = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
            if let Err(error) = backups.write(writer).await {
                // Whoever asked may have gone.
                let _ = pieces.send(Err(error)).await;
            }
        });
        receiver
    }
}

/// Writes into a channel. Only for threads that may wait.
struct Pieces(mpsc::Sender<Result<Bytes, BackupError>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a backup to its end, and says what is in it.
///
/// # Errors
/// When it is not whole, or something follows it.
pub fn inspect(mut reader: impl Read) -> Result<Backup, BackupError> {
    let (header, own) = read_own(&mut reader, |_| Ok(()))?;
    let mut shards = Vec::new();
    for shard in header.shards.into_iter().map(Shard::from) {
        let header = snapshot::read(shard, &mut reader, |_| Ok(()))?;
        shards.push((shard, header.sequence));
    }
    nothing_more(&mut reader)?;
    Ok(Backup { node: header.node, own, shards })
}

/// Makes the store of a node from a backup, in a folder that is not there yet. It is there when all of it is.
///
/// # Errors
/// When the folder is there, the backup is not whole, or it holds what the machines do not know. Nothing is left then.
pub async fn restore(
    file: &Path,
    folder: &Path,
    machines: &BTreeMap<Book, Arc<dyn Machine>>,
) -> Result<Backup, BackupError> {
    if folder.exists() {
        return Err(BackupError::NotEmpty(folder.display().to_string()));
    }
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let unfinished = folder.with_file_name(name);
    remove(&unfinished)?;
    match restore_into(file, &unfinished, machines).await {
        Ok(backup) => {
            std::fs::rename(&unfinished, folder)?;
            Ok(backup)
        }
        Err(error) => {
            remove(&unfinished)?;
            Err(error)
        }
    }
}

async fn restore_into(
    file: &Path,
    folder: &Path,
    machines: &BTreeMap<Book, Arc<dyn Machine>>,
) -> Result<Backup, BackupError> {
    // Before anything is made: is it whole?
    let path = file.to_owned();
    let inspected = tokio::task::spawn_blocking(move || inspect(BufReader::new(File::open(path)?)));
    let backup = inspected.await.map_err(|_| StoreError::Closed)??;
    let store = SledStore::open_with(folder, Durability::Disk)?;
    let restored = fill(file, &store, machines).await;
    // The files are left alone only when nobody has them open.
    store.close().await;
    restored.map(|()| backup)
}

async fn fill(file: &Path, store: &SledStore, machines: &BTreeMap<Book, Arc<dyn Machine>>) -> Result<(), BackupError> {
    let mut reader = BufReader::new(File::open(file)?);
    let runtime = tokio::runtime::Handle::current();
    let own = store.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let (header, _) =
            read_own(&mut reader, |writes| runtime.block_on(own.write(writes, true)).map_err(BackupError::from))?;
        Ok::<_, BackupError>((header, reader))
    });
    let (header, mut reader) = reading.await.map_err(|_| StoreError::Closed)??;
    let applier = Applier::open(store.clone(), machines, Options::ALONE).await?;
    for shard in header.shards.into_iter().map(Shard::from) {
        (_, reader) = applier.install(shard, reader).await?;
    }
    Ok(())
}

/// Cuts a backup into the snapshots that it holds, each in a file of `folder`; returns each shard with its last entry and its file.
///
/// # Errors
/// When it is not whole, or the files cannot be written.
pub fn split(mut reader: impl Read, folder: &Path) -> Result<Vec<(Shard, u64, PathBuf)>, BackupError> {
    let (header, _) = read_own(&mut reader, |_| Ok(()))?;
    let mut files = Vec::new();
    for shard in header.shards.into_iter().map(Shard::from) {
        let path = folder.join(format!("{shard}.snapshot"));
        let mut copied = Copied { reader: &mut reader, copy: BufWriter::new(File::create(&path)?) };
        let header = snapshot::read(shard, &mut copied, |_| Ok(()))?;
        copied.copy.flush()?;
        files.push((shard, header.sequence, path));
    }
    nothing_more(&mut reader)?;
    Ok(files)
}

/// Writes down what is read.
struct Copied<R, W> {
    reader: R,
    copy: W,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.copy.write_all(&buffer[..read])?;
        Ok(read)
    }
}

/// Reads the first part; gives the node's own keys to `write`, some at a time.
fn read_own(
    reader: &mut impl Read,
    mut write: impl FnMut(Vec<spanwire_model::Write>) -> Result<(), BackupError>,
) -> Result<(Header, usize), BackupError> {
    let (mut opening, header) = Opening::begin::<Header>(reader, FORM)?;
    let (mut writes, mut own) = (Vec::new(), 0);
    while let Some((key, value)) = opening.pair()? {
        own += 1;
        writes.push(spanwire_model::Write::Put { key, value });
        if writes.len() == OWN_AT_ONCE {
            write(std::mem::take(&mut writes))?;
        }
    }
    write(writes)?;
    Ok((header, own))
}

fn nothing_more(reader: &mut impl Read) -> Result<(), BackupError> {
    match reader.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("something follows the end of the backup").into()),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
