//! A view in memory.

use std::collections::BTreeMap;

use spanwire_model::{Applied, Entry, Machine, Pair, StoreError, View, ViewMut};

/// What a log has made so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub(super) pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How to go back to where the entry began.
    undo: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Memory {
    /// Applies one entry, or nothing of it.
    pub(super) fn apply(&mut self, machine: &dyn Machine, entry: &Entry) -> Applied {
        self.undo.clear();
        let applied = machine.apply(self, entry).expect("a view in memory does not fail");
        if applied.is_err() {
            for (key, old) in std::mem::take(&mut self.undo).into_iter().rev() {
                match old {
                    Some(value) => self.pairs.insert(key, value),
                    None => self.pairs.remove(&key),
                };
            }
        }
        applied
    }

    pub(super) fn count(&self, prefix: &str) -> u64 {
        self.pairs.keys().filter(|key| key.starts_with(prefix.as_bytes())).count() as u64
    }
}

impl View for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pairs.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
        let all = self.pairs.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let next = all.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        Ok(next.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl ViewMut for Memory {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        assert!(key.len() <= 1024, "a key of {} bytes", key.len());
        assert!(value.len() <= spanwire_model::MAX_VIEW_VALUE, "a value of {} bytes", value.len());
        let old = self.pairs.insert(key.clone(), value);
        self.undo.push((key, old));
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(old) = self.pairs.remove(key) {
            self.undo.push((key.to_vec(), Some(old)));
        }
    }
}
