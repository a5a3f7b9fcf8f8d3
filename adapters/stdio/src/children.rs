//! The children of each server, for whoever must know that none of the old ones is left.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use spanwire_model::ServerId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::process::Running;

/// All children of this connector that have not ended, and some that have.
#[derive(Debug, Default)]
pub(crate) struct Children(Mutex<HashMap<ServerId, Vec<Child>>>);

#[derive(Debug)]
struct Child {
    /// Cancelled when it is to end.
    stop: CancellationToken,
    /// Set once it and everything it started is gone.
    exit: watch::Receiver<Option<Arc<str>>>,
}

impl Child {
    /// The sender goes without a word only when the runtime ends; then the guard cleans up.
    fn is_gone(&self) -> bool {
        self.exit.borrow().is_some() || self.exit.has_changed().is_err()
    }
}

impl Children {
    /// Takes a child that was just started, and forgets those that are gone.
    pub(crate) fn note(&self, server: &ServerId, child: &Running) {
        let mut all = self.all();
        all.retain(|_, children| {
            children.retain(|child| !child.is_gone());
            !children.is_empty()
        });
        let child = Child { stop: child.stop.clone(), exit: child.exit.clone() };
        all.entry(server.clone()).or_default().push(child);
    }

    /// Returns when every child of the server that was to end is gone. Each is killed in the end, so this is a matter of seconds.
    pub(crate) async fn gone(&self, server: &ServerId) {
        while let Some(mut exit) = self.ending(server) {
            let _ = exit.wait_for(Option::is_some).await;
        }
    }

    /// The end of a child of the server that is to end and has not yet.
    fn ending(&self, server: &ServerId) -> Option<watch::Receiver<Option<Arc<str>>>> {
        let all = self.all();
        let ending = all.get(server)?.iter().find(|child| child.stop.is_cancelled() && !child.is_gone());
        ending.map(|child| child.exit.clone())
    }

    /// Every entry is whole after each critical section, so a poisoned lock is one that can be used.
    fn all(&self) -> MutexGuard<'_, HashMap<ServerId, Vec<Child>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
