//! Why a shard cannot go on.

use std::sync::Arc;

use spanwire_model::{Error, ErrorKind, Shard, StoreError};

/// Why an entry was not applied, or a snapshot not taken or installed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The entry is of a program newer than this one. The shard stops: skipping it would make this view differ from all others.
    #[error("entry {sequence} of shard {shard} is newer than this version of spanwire: {text}; upgrade this node")]
    Newer { shard: Shard, sequence: u64, text: String },
    /// The entry is no message of a ledger. The shard stops.
    #[error("entry {sequence} of shard {shard}: {text}")]
    Unreadable { shard: Shard, sequence: u64, text: String },
    /// Entries between the last applied one and this one are missing. Nothing stops: whoever feeds the shard finds them.
    #[error("shard {shard} has applied up to {applied} and was given entry {found}")]
    Gap { shard: Shard, applied: u64, found: u64 },
    /// What is here does not agree with the log. Nothing was applied, and nothing stops: whoever feeds the shard rebuilds it.
    #[error("shard {shard} does not agree with the log at entry {sequence}: {text}")]
    Diverged { shard: Shard, sequence: u64, text: String },
    /// The machine panicked. The shard stops.
    #[error("the machine of shard {shard} panicked at entry {sequence}: {text}")]
    Panicked { shard: Shard, sequence: u64, text: String },
    /// The store failed. The shard stops: what it holds is not known until it is opened again.
    #[error("shard {shard}: {source}")]
    Store { shard: Shard, source: Arc<StoreError> },
    /// A snapshot that cannot be used.
    #[error("snapshot of shard {shard}: {text}")]
    Snapshot { shard: Shard, text: String },
    /// There is no machine for the shard's book.
    #[error("shard {0} is not kept on this node")]
    Unknown(Shard),
}

impl ApplyError {
    pub(crate) fn store(shard: Shard, source: StoreError) -> Self {
        Self::Store { shard, source: Arc::new(source) }
    }

    /// Whether the shard goes no further until the node is started again, upgraded, or its view is made anew.
    pub(crate) fn stops(&self) -> bool {
        match self {
            Self::Newer { .. } | Self::Unreadable { .. } | Self::Panicked { .. } | Self::Store { .. } => true,
            Self::Gap { .. } | Self::Diverged { .. } | Self::Snapshot { .. } | Self::Unknown(_) => false,
        }
    }
}

impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Self {
        match error {
            // Where the store is, is nobody's business.
            ApplyError::Store { shard, source } => {
                Self::new(ErrorKind::Unavailable, format!("shard {shard}: the store of this node failed"))
                    .with_private(source)
            }
            ApplyError::Unknown(_) => Self::new(ErrorKind::Internal, error.to_string()),
            ApplyError::Newer { .. }
            | ApplyError::Unreadable { .. }
            | ApplyError::Gap { .. }
            | ApplyError::Diverged { .. }
            | ApplyError::Panicked { .. }
            | ApplyError::Snapshot { .. } => Self::new(ErrorKind::Unavailable, error.to_string()),
        }
    }
}
