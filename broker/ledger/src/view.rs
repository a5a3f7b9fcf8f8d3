//! A shard's view while it is read and while a command changes it: what is in the store, with changes laid over it.
//!
//! The same overlay serves twice. Under a command it holds what the command has changed so far. Under readers it holds what was there
//! before changes that are not durable yet, or that came after a snapshot began: so nobody sees what a crash could take back, and nobody
//! waits for the disk.

use std::{cmp::Ordering, collections::BTreeMap, iter::Peekable};

use spanwire_model::{MAX_VIEW_VALUE, Pair, StoreError, View, ViewMut};

use crate::cells::Cells;

/// Longest key of a view, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

/// The class of keys that machines see. The other classes of a shard are the ledger's own.
pub(crate) const VALUES: u8 = b'v';

/// Keys with the values that they get, or none for a key that goes away.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The value of a key, with changes laid over what is stored.
pub(crate) fn get(cells: &Cells, changes: &Changes, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    match changes.get(key) {
        Some(changed) => Ok(changed.clone()),
        None => cells.get(key),
    }
}

/// Keys that begin with `prefix` and come after `after`, in order, with changes laid over what is stored.
pub(crate) fn iter<'a>(
    cells: &'a Cells,
    changes: &'a Changes,
    prefix: &[u8],
    after: Option<&[u8]>,
) -> impl Iterator<Item = Result<Pair, StoreError>> + use<'a> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let from = match after {
        Some(after) if after >= prefix => Excluded(after.to_vec()),
        Some(_) | None => Included(prefix.to_vec()),
    };
    let prefix_owned = prefix.to_vec();
    let changed = changes.range::<Vec<u8>, _>((from, Unbounded));
    let changed = changed.take_while(move |(key, _)| key.starts_with(&prefix_owned)).peekable();
    Merged { stored: cells.iter(prefix, after).peekable(), changed }
}

/// Two ordered sequences as one, in which what was changed wins.
struct Merged<S: Iterator, C: Iterator> {
    stored: Peekable<S>,
    changed: Peekable<C>,
}

impl<'a, S, C> Iterator for Merged<S, C>
where
    S: Iterator<Item = Result<Pair, StoreError>>,
    C: Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
{
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.stored.peek(), self.changed.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((stored, _))), Some((changed, _))) => stored.cmp(changed),
            };
            if order == Ordering::Less {
                return self.stored.next();
            }
            if order == Ordering::Equal {
                self.stored.next();
            }
            if let Some((key, Some(value))) = self.changed.next() {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

/// What readers are given.
pub(crate) struct Reading<'a> {
    pub(crate) cells: &'a Cells,
    pub(crate) changes: &'a Changes,
}

impl View for Reading<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.cells, self.changes, &value_key(key))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        let after = after.map(value_key);
        let found = iter(self.cells, self.changes, &value_key(prefix), after.as_deref());
        found.take(limit).map(|item| item.map(|(key, value)| (key[1..].to_vec(), value))).collect()
    }
}

/// What a machine is given.
pub(crate) struct Transaction<'a> {
    cells: &'a Cells,
    changes: Changes,
    /// Set when a machine asked for what a view cannot hold.
    pub(crate) excess: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(cells: &'a Cells) -> Self {
        Self { cells, changes: Changes::new(), excess: false }
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }
}

impl View for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Reading { cells: self.cells, changes: &self.changes }.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, StoreError> {
        Reading { cells: self.cells, changes: &self.changes }.scan(prefix, after, limit)
    }
}

impl ViewMut for Transaction<'_> {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if key.len() > MAX_KEY_BYTES || value.len() > MAX_VIEW_VALUE {
            self.excess = true;
        } else {
            self.changes.insert(value_key(&key), Some(value));
        }
    }

    fn delete(&mut self, key: &[u8]) {
        self.changes.insert(value_key(key), None);
    }
}

fn value_key(key: &[u8]) -> Vec<u8> {
    [&[VALUES], key].concat()
}
