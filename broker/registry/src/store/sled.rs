//! sled 0.34.7, used within what was measured to be safe (broker/decisions/0002): one tree, one writer thread that batches what waits, `flush` and then a
//! sync of the file itself before the acknowledgement, small values, stale snapshot files removed before opening.

use std::{
    fs::File,
    path::{Path, PathBuf},
    thread,
};

use async_trait::async_trait;
use spanwire_model::{Pair, Store, StoreError, Write};
use tokio::sync::{mpsc, oneshot};

/// Batches waiting for the writer thread.
const QUEUE: usize = 256;

/// What sled may cache, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

type Job = (Vec<Write>, oneshot::Sender<Result<(), StoreError>>);

/// A store in a folder. One process at a time.
#[derive(Debug)]
pub struct SledStore {
    db: ::sled::Db,
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
}

impl SledStore {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process has it open.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| io_error(folder, source);
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
        remove_files(folder, |name| name.starts_with("snap.") && name.ends_with(".generating"));
        let open = || ::sled::Config::default().path(folder).cache_capacity(CACHE_BYTES).open();
        let db = match open() {
            Err(::sled::Error::Corruption { .. }) => {
                tracing::warn!("the store's snapshot is unreadable: rebuilt from the log");
                remove_files(folder, |name| name.starts_with("snap."));
                open()
            }
            opened => opened,
        };
        let db = db.map_err(|error| failed(error.into()))?;
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let writer = (db.clone(), folder.to_owned());
        thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_all(&writer.0, &writer.1, inbox))
            .map_err(|error| failed(error.into()))?;
        Ok(Self { db, jobs, path: folder.to_owned() })
    }
}

#[async_trait]
impl Store for SledStore {
    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        check(&writes)?;
        let (reply, done) = oneshot::channel();
        self.jobs.send((writes, reply)).await.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get(key).map_err(|error| io_error(&self.path, error.into()))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, StoreError> {
        self.db
            .scan_prefix(prefix)
            .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect::<Result<_, _>>()
            .map_err(|error| io_error(&self.path, error.into()))
    }
}

pub(super) fn check(writes: &[Write]) -> Result<(), StoreError> {
    let limit = <dyn Store>::MAX_VALUE;
    writes.iter().try_for_each(|write| match write {
        Write::Put { value, .. } if value.len() > limit => Err(StoreError::TooLarge { bytes: value.len(), limit }),
        Write::Put { .. } | Write::Delete { .. } => Ok(()),
    })
}

/// The writer thread: it ends when the store is dropped.
fn write_all(db: &::sled::Db, folder: &Path, mut inbox: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(QUEUE);
    while inbox.blocking_recv_many(&mut jobs, QUEUE) > 0 {
        let result = write(db, folder, &jobs);
        for (_, reply) in jobs.drain(..) {
            let answer = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io_error(folder, error.to_string().into())),
            };
            // Whoever asked may have gone; the write stands.
            let _ = reply.send(answer);
        }
    }
}

fn write(db: &::sled::Db, folder: &Path, jobs: &[Job]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for (writes, _) in jobs {
        let mut batch = ::sled::Batch::default();
        for write in writes {
            match write {
                Write::Put { key, value } => batch.insert(key.as_slice(), value.as_slice()),
                Write::Delete { key } => batch.remove(key.as_slice()),
            }
        }
        db.apply_batch(batch)?;
    }
    db.flush()?;
    // sled's flush is no fsync on Linux.
    File::open(folder.join("db"))?.sync_data()?;
    Ok(())
}

fn remove_files(folder: &Path, doomed: impl Fn(&str) -> bool) {
    let Ok(files) = std::fs::read_dir(folder) else { return };
    for file in files.flatten().filter(|file| file.file_name().to_str().is_some_and(&doomed)) {
        if let Err(error) = std::fs::remove_file(file.path()) {
            tracing::warn!(file = %file.path().display(), "cannot remove a stale file: {error}");
        }
    }
}

fn io_error(path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Io { path: path.display().to_string(), source }
}
