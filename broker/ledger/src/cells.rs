//! Values of any size up to that of a command, over a store that must not see large ones: they are cut into pieces under keys of their own.
//!
//! A cell is at `{prefix}c{key}`: one byte, 0 before the value itself or 1 before the number of its pieces, which are at
//! `{prefix}x{length of the key}{key}{number}`.

use spanwire_model::{Pair, StoreError, Write};

use crate::store::Tree;

/// Longest value, or piece of one, in bytes. Below what sled keeps well (broker/decisions/0002).
const PIECE_BYTES: usize = 60 * 1024;

const WHOLE: u8 = 0;
const CUT: u8 = 1;

/// Keys and values below a prefix. Reads see what the writer thread has applied.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    tree: Tree,
    prefix: Vec<u8>,
}

impl Cells {
    pub(crate) fn new(tree: &Tree, prefix: Vec<u8>) -> Self {
        Self { tree: tree.clone(), prefix }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let head = self.tree.get(&self.head(key))?;
        head.map(|head| self.whole(key, head)).transpose()
    }

    /// Keys that begin with `prefix` and come after `after`, in order, with their values.
    pub(crate) fn iter<'a>(
        &'a self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + use<'a> {
        let after = after.map(|after| self.head(after));
        let strip = self.prefix.len() + 1;
        self.tree.iter(self.head(prefix), after.as_deref()).map(move |item| {
            let (mut key, head) = item?;
            key.drain(..strip);
            let value = self.whole(&key, head)?;
            Ok((key, value))
        })
    }

    /// The writes that set a cell, or remove it, and nothing of what was there before stays.
    pub(crate) fn change(&self, key: &[u8], value: Option<&[u8]>, writes: &mut Vec<Write>) -> Result<(), StoreError> {
        let before = self.tree.get(&self.head(key))?.map_or(0, |head| pieces_of(&head));
        let mut pieces = 0;
        match value {
            None => writes.push(Write::Delete { key: self.head(key) }),
            Some(value) if value.len() <= PIECE_BYTES => {
                let mut whole = Vec::with_capacity(value.len() + 1);
                whole.push(WHOLE);
                whole.extend_from_slice(value);
                writes.push(Write::Put { key: self.head(key), value: whole });
            }
            Some(value) => {
                for piece in value.chunks(PIECE_BYTES) {
                    writes.push(Write::Put { key: self.piece(key, pieces), value: piece.to_vec() });
                    pieces += 1;
                }
                let mut head = vec![CUT];
                head.extend_from_slice(&pieces.to_be_bytes());
                writes.push(Write::Put { key: self.head(key), value: head });
            }
        }
        writes.extend((pieces..before).map(|number| Write::Delete { key: self.piece(key, number) }));
        Ok(())
    }

    /// Some of the keys below the prefix as the store has them, pieces included: for removing all.
    pub(crate) fn raw_keys(&self, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.tree.iter(self.prefix.clone(), None).take(limit).map(|item| item.map(|(key, _)| key)).collect()
    }

    fn head(&self, key: &[u8]) -> Vec<u8> {
        [&self.prefix, b"c".as_slice(), key].concat()
    }

    fn piece(&self, key: &[u8], number: u32) -> Vec<u8> {
        let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        [&self.prefix, b"x".as_slice(), &length.to_be_bytes(), key, &number.to_be_bytes()].concat()
    }

    fn whole(&self, key: &[u8], mut head: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        if head.first() == Some(&WHOLE) {
            head.remove(0);
            return Ok(head);
        }
        let pieces = pieces_of(&head);
        let mut value = Vec::with_capacity(pieces as usize * PIECE_BYTES);
        for number in 0..pieces {
            let piece = self.tree.get(&self.piece(key, number))?;
            value.extend(piece.ok_or_else(|| damaged(key))?);
        }
        if pieces == 0 { Err(damaged(key)) } else { Ok(value) }
    }
}

/// The pieces that a head speaks of.
fn pieces_of(head: &[u8]) -> u32 {
    match head.split_first() {
        Some((&CUT, number)) => number.try_into().map_or(0, u32::from_be_bytes),
        Some(_) | None => 0,
    }
}

fn damaged(key: &[u8]) -> StoreError {
    let key = String::from_utf8_lossy(key).into_owned();
    StoreError::Io { path: key, source: "a piece of the value is missing".into() }
}
