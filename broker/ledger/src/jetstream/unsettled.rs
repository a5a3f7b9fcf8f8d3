//! Operations of this node of which nobody knows whether they are in the log.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use spanwire_model::{Receipt, Result};
use uuid::Uuid;

/// Operations that are remembered; of more the oldest are forgotten.
const MAX_UNSETTLED: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    all: BTreeSet<Uuid>,
    order: VecDeque<Uuid>,
}

/// One append. Dropped after something was sent and before its end is known, its operation is unsettled.
#[derive(Debug)]
pub(super) struct Fate<'a> {
    unsettled: &'a Unsettled,
    operation: Uuid,
    is_open: bool,
}

impl Unsettled {
    pub(super) fn contains(&self, operation: Uuid) -> bool {
        self.known().all.contains(&operation)
    }

    pub(super) fn watch(&self, operation: Uuid) -> Fate<'_> {
        Fate { unsettled: self, operation, is_open: false }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fate<'_> {
    /// From now on it may be in the log.
    pub(super) fn sent(&mut self) {
        self.is_open = true;
    }

    /// Its end is known: this.
    pub(super) fn settled(&mut self, end: Result<Receipt>) -> Result<Receipt> {
        self.is_open = false;
        if end.is_ok() {
            let mut known = self.unsettled.known();
            if known.all.remove(&self.operation) {
                known.order.retain(|operation| *operation != self.operation);
            }
        }
        end
    }
}

impl Drop for Fate<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let mut known = self.unsettled.known();
        if known.all.insert(self.operation) {
            known.order.push_back(self.operation);
        }
        if known.order.len() > MAX_UNSETTLED
            && let Some(oldest) = known.order.pop_front()
        {
            known.all.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_and_not_answered_is_remembered_until_it_is() {
        let (unsettled, operation) = (Unsettled::default(), Uuid::from_u128(1));
        drop(unsettled.watch(operation));
        assert!(!unsettled.contains(operation), "nothing was sent");
        let mut fate = unsettled.watch(operation);
        fate.sent();
        drop(fate);
        assert!(unsettled.contains(operation));
        let mut fate = unsettled.watch(operation);
        fate.sent();
        let receipt = Receipt { sequence: 1, outcome: Ok(spanwire_mcp::Json::empty_object()) };
        assert!(fate.settled(Ok(receipt)).is_ok());
        drop(fate);
        assert!(!unsettled.contains(operation));
        for number in 0..=MAX_UNSETTLED as u128 {
            unsettled.watch(Uuid::from_u128(number)).sent();
        }
        assert!(!unsettled.contains(Uuid::from_u128(0)) && unsettled.contains(Uuid::from_u128(1)));
    }
}
