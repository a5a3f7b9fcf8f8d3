//! The body of a command, version 1, and what a machine answers.

use serde::{Deserialize, Serialize};
use spanwire_mcp::Json;

use crate::{Quotas, SpaceName, Transaction};

/// The version of these forms.
pub(crate) const VERSION: u16 = 1;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Body {
    /// Change a space.
    Write {
        space: SpaceName,
        transaction: Transaction,
        /// The limits of the author's node.
        quotas: Quotas,
    },
    /// Remove the keys whose time to live is over by the entry's time, soonest first, at most so many.
    Expire { limit: u16, quotas: Quotas },
    /// Remove a space with everything in it.
    Drop { space: SpaceName },
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The digest of the transaction: tells a repeated write from another one under the same operation id.
    pub of: String,
    /// Of each operation, in order.
    pub done: Vec<Done>,
}

/// What became of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// A delete of what was not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
}

/// What became of an expire command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expired {
    /// How many keys went.
    pub expired: u64,
}

/// What became of a drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dropped {
    /// How many keys went; `None` when the space was not there.
    pub keys: Option<u64>,
}

/// The digest of a space's transaction.
pub(crate) fn digest(space: &SpaceName, transaction: &Transaction) -> Result<String, serde_json::Error> {
    use sha2::{Digest, Sha256};
    let text = Json::from_serialize(&(space, transaction))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
