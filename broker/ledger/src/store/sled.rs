//! sled 0.34.7, used within what was measured to be safe (broker/decisions/0002): one tree, one writer thread that batches what waits, `flush` and then a
//! sync of the file itself before the acknowledgement, small values, stale snapshot files removed before opening.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use async_trait::async_trait;
use spanwire_model::{Pair, Store, StoreError, Write};
use tokio::sync::{mpsc, oneshot};

/// Jobs waiting for the writer thread. Whoever comes next waits.
const QUEUE: usize = 256;

/// What sled may cache, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Keys that begin with this are the ledger's. The node's own state is elsewhere, and does not see them.
pub(crate) const LEDGER: &[u8] = b"ledger/";

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// A loss of power too.
    #[default]
    Disk,
}

/// Keys and values, read by all and changed by the writer thread alone. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    db: ::sled::Db,
    path: Arc<Path>,
}

impl Tree {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db.get(key).map_err(|error| self.failed(error.into()))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Keys that begin with `prefix` and come after `after`, in order.
    pub(crate) fn iter(
        &self,
        prefix: Vec<u8>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + use<> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(after) if after >= prefix.as_slice() => Excluded(after.to_vec()),
            Some(_) | None => Included(prefix.clone()),
        };
        let path = self.path.clone();
        let range = self.db.range::<Vec<u8>, _>((from, Unbounded));
        range
            .map(move |item| match item {
                Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
                Err(error) => Err(io_error(&path, error.into())),
            })
            .take_while(move |item| item.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
    }

    /// Applies all writes or none. They are durable after the flush that follows the job.
    pub(crate) fn apply(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut batch = ::sled::Batch::default();
        for write in writes {
            match write {
                Write::Put { key, value } => batch.insert(key.as_slice(), value.as_slice()),
                Write::Delete { key } => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch).map_err(|error| self.failed(error.into()))
    }

    fn flush(&self, durability: Durability) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.failed(error.into()))?;
        match durability {
            Durability::Process => Ok(()),
            // sled's flush is no fsync on Linux.
            Durability::Disk => {
                let synced = File::open(self.path.join("db")).and_then(|file| file.sync_data());
                synced.map_err(|error| self.failed(error.into()))
            }
        }
    }

    fn failed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
        io_error(&self.path, source)
    }
}

/// What the writer thread is asked to do. It may change the tree, and nothing else does.
pub(crate) type Job = Box<dyn FnOnce(&Tree) -> Done + Send>;

/// What follows a job.
pub(crate) struct Done {
    /// Whether `then` waits until what was changed is durable.
    pub(crate) flush: bool,
    /// Called on the writer thread, with the outcome of the flush that the jobs of one group share.
    pub(crate) then: Box<dyn FnOnce(Result<(), Arc<StoreError>>) + Send>,
}

/// A store in a folder. One process at a time. Cheap to clone; the folder is given up a moment after the last clone is dropped.
#[derive(Debug, Clone)]
pub struct SledStore {
    tree: Tree,
    jobs: mpsc::Sender<WriterJob>,
    writer: Arc<Mutex<Option<thread::JoinHandle<()>>>>,
}

/// A job that can be printed as one.
struct WriterJob(Job);

impl SledStore {
    /// Opens or makes the store; what it acknowledges survives a loss of power.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process has it open.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_with(folder, Durability::Disk)
    }

    /// Opens or makes the store.
    ///
    /// # Errors
    /// When the folder cannot be used, or another process has it open.
    pub fn open_with(folder: &Path, durability: Durability) -> Result<Self, StoreError> {
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
        let tree = Tree { db: db.map_err(|error| failed(error.into()))?, path: PathBuf::from(folder).into() };
        let (jobs, inbox) = mpsc::channel(QUEUE);
        let of_writer = tree.clone();
        let writer = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_all(&of_writer, durability, inbox))
            .map_err(|error| failed(error.into()))?;
        Ok(Self { tree, jobs, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// For readers.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The node's own keys with their values, in order.
    pub(crate) fn own(&self) -> impl Iterator<Item = Result<Pair, StoreError>> + use<> {
        own(&self.tree, Vec::new())
    }

    /// Gives the folder up, and returns when it is given up. Clones must be gone, or this waits for them.
    pub async fn close(self) {
        let Self { tree, jobs, writer } = self;
        drop((tree, jobs));
        let thread = writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A writer that panicked has given up everything too.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Hands a job to the writer thread; waits for a place in the queue.
    pub(crate) async fn submit(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(WriterJob(job)).await.map_err(|_| StoreError::Closed)
    }

    /// Writes, and returns when it is durable, where that is wanted.
    pub(crate) async fn write(&self, writes: Vec<Write>, flush: bool) -> Result<(), StoreError> {
        let (reply, done) = oneshot::channel();
        let job = move |tree: &Tree| {
            let applied = tree.apply(&writes);
            // Whoever asked may have gone; the write stands.
            let then = move |flushed: Result<(), Arc<StoreError>>| {
                let _ = reply.send(applied.and(flushed.map_err(|error| again(&error))));
            };
            Done { flush, then: Box::new(then) }
        };
        self.submit(Box::new(job)).await?;
        done.await.map_err(|_| StoreError::Closed)?
    }
}

#[async_trait]
impl Store for SledStore {
    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        <dyn Store>::check(&writes)?;
        self.write(writes, true).await
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tree.get(key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, StoreError> {
        own(&self.tree, prefix.to_vec()).collect()
    }
}

/// What is not the ledger's.
fn own(tree: &Tree, prefix: Vec<u8>) -> impl Iterator<Item = Result<Pair, StoreError>> + use<> {
    tree.iter(prefix, None).filter(|item| item.as_ref().map_or(true, |(key, _)| !key.starts_with(LEDGER)))
}

/// The writer thread: it ends when the store is dropped.
fn write_all(tree: &Tree, durability: Durability, mut inbox: mpsc::Receiver<WriterJob>) {
    let mut jobs = Vec::with_capacity(QUEUE);
    while inbox.blocking_recv_many(&mut jobs, QUEUE) > 0 {
        // A job that panics is dropped, and with it its way to answer: whoever waits learns that the store is closed to it.
        let run = |WriterJob(job): WriterJob| catch_unwind(AssertUnwindSafe(|| job(tree))).ok();
        let done: Vec<Done> = jobs.drain(..).filter_map(run).collect();
        let flushed = match done.iter().any(|done| done.flush) {
            true => catch_unwind(AssertUnwindSafe(|| tree.flush(durability)))
                .unwrap_or(Err(StoreError::Closed))
                .map_err(Arc::new),
            false => Ok(()),
        };
        for one in done {
            let outcome = if one.flush { flushed.clone() } else { Ok(()) };
            let _ = catch_unwind(AssertUnwindSafe(|| (one.then)(outcome)));
        }
    }
}

fn remove_files(folder: &Path, doomed: impl Fn(&str) -> bool) {
    let Ok(files) = std::fs::read_dir(folder) else { return };
    for file in files.flatten().filter(|file| file.file_name().to_str().is_some_and(&doomed)) {
        if let Err(error) = std::fs::remove_file(file.path()) {
            tracing::warn!(file = %file.path().display(), "cannot remove a stale file: {error}");
        }
    }
}

/// The same error once more, for another who waits.
pub(crate) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::TooLarge { bytes, limit } => StoreError::TooLarge { bytes: *bytes, limit: *limit },
        StoreError::Io { path, source } => StoreError::Io { path: path.clone(), source: source.to_string().into() },
        StoreError::Closed => StoreError::Closed,
    }
}

fn io_error(path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Io { path: path.display().to_string(), source }
}
