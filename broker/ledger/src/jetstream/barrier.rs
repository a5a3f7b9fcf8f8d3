//! Linearizable reads: an entry of no meaning in the log, and a wait until it is applied here. Readers share it.
//!
//! A reader may not use a barrier that was on its way when the read began: a write that was acknowledged in between could be
//! behind it. So whoever comes meanwhile waits for the next one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use spanwire_model::{Error, ErrorKind, Result};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{Inner, append::append_own, log::Log};
use crate::wire::{Kind, Message};

/// Readers of a shard that may wait for one barrier.
const MAX_READERS: usize = 4096;
/// How long a barrier may take.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(10);

/// Who waits for the next barrier.
#[derive(Debug, Default)]
pub(super) struct Barriers {
    readers: Mutex<Vec<oneshot::Sender<Result<u64>>>>,
    wanted: Notify,
}

impl Barriers {
    /// Waits for a barrier that is appended from now on; returns its sequence.
    ///
    /// # Errors
    /// `Overloaded`; `Unavailable` or `DeadlineExceeded` when the log does not take it.
    pub(super) async fn reach(&self, log: &Log, deadline: Instant) -> Result<u64> {
        log.check_writable()?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut readers = self.readers();
            readers.retain(|reader| !reader.is_closed());
            if readers.len() >= MAX_READERS {
                let text = format!("{MAX_READERS} linearizable reads of {} wait already", log.shard);
                return Err(Error::new(ErrorKind::Overloaded, text));
            }
            readers.push(sender);
        }
        self.wanted.notify_one();
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(reached)) => reached,
            Ok(Err(_)) => Err(Error::new(ErrorKind::Unavailable, format!("the log of {} was closed", log.shard))),
            Err(_) => {
                let text = format!("the log of {} was not read up to now in time", log.shard);
                Err(Error::new(ErrorKind::DeadlineExceeded, text))
            }
        }
    }

    fn readers(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Result<u64>>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the readers of a log, one barrier after the other, for ever.
pub(super) async fn run(inner: &Inner, log: &Log) {
    loop {
        log.barriers.wanted.notified().await;
        let readers = std::mem::take(&mut *log.barriers.readers());
        if readers.is_empty() {
            continue;
        }
        let reached = pass(inner, log, Instant::now() + BARRIER_TIMEOUT).await;
        for reader in readers {
            let _ = reader.send(reached.clone());
        }
    }
}

async fn pass(inner: &Inner, log: &Log, deadline: Instant) -> Result<u64> {
    let message = Message::own(Kind::Barrier, inner.options.node.clone());
    let before = inner.applier.position(log.shard)?.sequence;
    let sequence = append_own(inner, log, &message, deadline).await?;
    if sequence <= before {
        // The log is another one than that of what is here.
        log.look_again.notify_one();
        let text = format!("the log of {} is behind what this node has applied", log.shard);
        return Err(Error::new(ErrorKind::Unavailable, text));
    }
    let applied = inner.wait_applied(log.shard, sequence, deadline).await?;
    // The view may have been made anew meanwhile.
    log.check_writable()?;
    Ok(applied)
}
