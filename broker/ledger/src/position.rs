//! How far a shard has been applied, and the running hash that says what came of it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::view::Changes;

/// A SHA-256 digest; in hex where it is shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The running hash after one more entry: equal hashes mean equal logs and equal views.
    pub(crate) fn next(self, sequence: u64, message: Self, changes: Self) -> Self {
        let hasher = Sha256::new().chain_update(self.0).chain_update(sequence.to_be_bytes());
        Self(hasher.chain_update(message.0).chain_update(changes.0).finalize().into())
    }

    /// What is shown as this; `None` when it is no digest.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut hash = Self::default();
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, index) in hash.0.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[index..index + 2], 16).ok()?;
        }
        Some(hash)
    }

    /// Of changes in the order of their keys.
    pub(crate) fn of_changes(changes: &Changes) -> Self {
        let length = |bytes: &[u8]| (bytes.len() as u64).to_be_bytes();
        let mut hasher = Sha256::new();
        for (key, value) in changes {
            hasher.update(length(key));
            hasher.update(key);
            match value {
                Some(value) => {
                    hasher.update([1]);
                    hasher.update(length(value));
                    hasher.update(value);
                }
                None => hasher.update([0]),
            }
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| de::Error::custom("a digest is 64 hex digits"))
    }
}

/// How far a shard is. It is written in the same batch as the changes of the entry that it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The last entry that was applied; 0 for none.
    pub(crate) sequence: u64,
    /// The log's time at that entry.
    pub(crate) time_ms: u64,
    /// The running hash after it.
    pub(crate) hash: Hash,
    /// The digest of its message.
    pub(crate) digest: Hash,
    /// The newest version of a command that was applied.
    pub(crate) version: u16,
    /// Which stream the entries came from; none on a node alone, or before the first one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    /// Which of the views below the shard's prefix is the current one. Of this node only.
    pub(crate) generation: u32,
    /// The first entry of the log that this node keeps itself; of this node only.
    #[serde(default)]
    pub(crate) first: u64,
    /// Bytes of the messages that this node keeps itself.
    #[serde(default)]
    pub(crate) log_bytes: u64,
}
