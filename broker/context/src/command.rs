//! The body of a command, and what a machine answers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spanwire_mcp::Json;
use uuid::Uuid;

use crate::{Quotas, SpaceName, Transaction};

/// The version of these forms that every command has, unless it says otherwise.
pub(crate) const VERSION: u16 = 1;
/// The version of a write for which a space that has long been without keys may go, where a new one finds its shard full. The form is the same. A write is of
/// this version only when it was refused as one of [`VERSION`]: nodes of an older program stop at it.
pub(crate) const MAKES_ROOM: u16 = 2;

/// The quota of the spaces of a shard, as its refusal names it.
pub(crate) const SPACES: &str = "spaces";

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

/// The id under which the ledger knows an operation: of the caller's id, the principal, and what is wanted. So another write, or
/// another principal's, is another operation whose outcome is its own, whatever id the caller has chosen. The limits of the node
/// are left out: a write may be repeated through another one.
pub(crate) fn operation_id(
    operation: Uuid,
    principal: &str,
    version: u16,
    body: &Body,
) -> Result<Uuid, serde_json::Error> {
    let wanted = match body {
        Body::Write { space, transaction, quotas: _ } => {
            let what = if version < MAKES_ROOM { "write" } else { "write and make room" };
            Json::from_serialize(&(what, space, transaction))?
        }
        Body::Drop { space } => Json::from_serialize(&("drop", space))?,
        Body::Expire { limit, quotas: _ } => Json::from_serialize(&("expire", limit))?,
    };
    let mut hash = Sha256::new();
    hash.update(operation.as_bytes());
    // So that no two principals and bodies read alike.
    hash.update((principal.len() as u64).to_be_bytes());
    hash.update(principal);
    hash.update(Sha256::digest(wanted.as_bytes()));
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    Ok(uuid::Builder::from_custom_bytes(id).into_uuid())
}

/// The digest of a space's transaction.
pub(crate) fn digest(space: &SpaceName, transaction: &Transaction) -> Result<String, serde_json::Error> {
    let text = Json::from_serialize(&(space, transaction))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}
