//! Durable state of one node: small values under keys.

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key; prefixes separate books, such as `server/`.
        key: Vec<u8>,
        /// The value, at most [`Store::MAX_VALUE`].
        value: Vec<u8>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A value above the limit.
    #[error("value of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk or the file said no.
    #[error("store at {path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The writer is gone.
    #[error("the store is closed")]
    Closed,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Durable state of one node.
///
/// Laws: `apply` is atomic, and what it acknowledged survives `kill -9` of the process; reads see what was acknowledged;
/// `scan` is ordered by key.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies all writes or none, and returns when they are durable.
    async fn apply(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// All keys that begin with the prefix, with their values.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, StoreError>;
}

impl dyn Store {
    /// Largest value in bytes; larger ones belong into files of their own (broker/decisions/0002).
    pub const MAX_VALUE: usize = 64 * 1024;

    /// Checks the sizes, as every store does before it applies.
    ///
    /// # Errors
    /// For the first value above the limit.
    pub fn check(writes: &[Write]) -> Result<(), StoreError> {
        let limit = Self::MAX_VALUE;
        writes.iter().try_for_each(|write| match write {
            Write::Put { value, .. } if value.len() > limit => Err(StoreError::TooLarge { bytes: value.len(), limit }),
            Write::Put { .. } | Write::Delete { .. } => Ok(()),
        })
    }
}
