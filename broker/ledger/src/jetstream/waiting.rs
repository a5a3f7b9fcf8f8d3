//! Appends of this node that wait until their entry is applied here.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use spanwire_model::Receipt;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Who waits for which operation. As long as there are permits for appends.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<Uuid, Vec<oneshot::Sender<Receipt>>>>);

/// Somebody who waits. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    waiting: &'a Waiting,
    operation: Uuid,
    pub(super) receipt: oneshot::Receiver<Receipt>,
}

impl Waiting {
    /// Waits from now on: what is applied after this is heard of.
    pub(super) fn wait(&self, operation: Uuid) -> Waiter<'_> {
        let (sender, receipt) = oneshot::channel();
        self.map().entry(operation).or_default().push(sender);
        Waiter { waiting: self, operation, receipt }
    }

    /// The operations that somebody waits for.
    pub(super) fn operations(&self) -> Vec<Uuid> {
        self.map().keys().copied().collect()
    }

    /// True when somebody waits for the operation.
    pub(super) fn is_awaited(&self, operation: Uuid) -> bool {
        self.map().contains_key(&operation)
    }

    /// Tells everybody who waits for the operation.
    pub(super) fn resolve(&self, operation: Uuid, receipt: &Receipt) {
        for sender in self.map().remove(&operation).into_iter().flatten() {
            let _ = sender.send(receipt.clone());
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Uuid, Vec<oneshot::Sender<Receipt>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.receipt.close();
        let mut map = self.waiting.map();
        if let Some(senders) = map.get_mut(&self.operation) {
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                map.remove(&self.operation);
            }
        }
    }
}
