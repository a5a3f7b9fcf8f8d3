//! Where everything is in a shard's view.
//!
//! | key | value |
//! |---|---|
//! | `c` | [`ShardRecord`]: what the shard counts |
//! | `s/{space}` | [`SpaceRecord`]: what the space counts |
//! | `m/{space}/{key}` | [`MetaRecord`]: version, writer, size; apart from the value, so that listing does not read values |
//! | `k/{space}/{key}` | the value, byte for byte |
//! | `e/{space}/{sequence}{index}` | [`EventRecord`]: the log |
//! | `v/{space}/{key} NUL {sequence}{index}` | nothing: which events are of the key |
//! | `x/{due}{space}/{key}` | nothing: what has a time to live, soonest first |
//! | `t/{sequence}` | the name of a space that was dropped then |
//!
//! Numbers are big-endian, so that their order is that of the keys. A space has no `/` in its name and a key no NUL. The longest of
//! these has 592 bytes; a view takes 1 KiB.
//!
//! **This is what every node has on its disk and what hashes are made of: it changes only with a new command version.**

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use spanwire_mcp::Json;
use spanwire_model::StoreError;

use crate::{EventKind, Key, SpaceName, Writer};

/// What the shard counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardRecord {
    /// Spaces that are there.
    pub spaces: u64,
    /// Spaces that were dropped, and of which this is still known.
    pub dropped: u64,
    /// Events before this sequence may be lost of any space that is not known: what a new space begins with.
    pub floor: u64,
}

/// What a space counts. It stays for a while after the space was dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpaceRecord {
    pub keys: u64,
    pub bytes: u64,
    pub events: u64,
    pub log_bytes: u64,
    /// From this sequence on all events are there.
    pub floor: u64,
    /// The last sequence that changed it.
    pub last: u64,
    /// The sequence at which it was dropped, while it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
}

/// What is known of a key besides its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetaRecord {
    pub version: u64,
    pub created: u64,
    pub time_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// Bytes of the value.
    pub bytes: u64,
    /// Of an array that has been appended to: how many elements it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    pub writer: Writer,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    pub time_ms: u64,
    pub kind: EventKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    pub writer: Writer,
}

/// Where the shard's counters are.
pub(crate) const SHARD: &[u8] = b"c";
/// Where all spaces are.
pub(crate) const SPACES: &[u8] = b"s/";
/// Where all times to live are.
pub(crate) const DUES: &[u8] = b"x/";
/// Where all dropped spaces are.
pub(crate) const DROPPED: &[u8] = b"t/";

pub(crate) fn space(space: &SpaceName) -> Vec<u8> {
    format!("s/{space}").into_bytes()
}

/// The key itself with a whole key, and all that begin so with a prefix of one.
pub(crate) fn meta(space: &SpaceName, key: &str) -> Vec<u8> {
    format!("m/{space}/{key}").into_bytes()
}

pub(crate) fn value(space: &SpaceName, key: &str) -> Vec<u8> {
    format!("k/{space}/{key}").into_bytes()
}

/// Where the events of a space are.
pub(crate) fn events(space: &SpaceName) -> Vec<u8> {
    format!("e/{space}/").into_bytes()
}

pub(crate) fn event(space: &SpaceName, sequence: u64, index: u16) -> Vec<u8> {
    numbered(events(space), sequence, index)
}

/// Where the versions of a key are.
pub(crate) fn versions(space: &SpaceName, key: &Key) -> Vec<u8> {
    format!("v/{space}/{key}\0").into_bytes()
}

pub(crate) fn version(space: &SpaceName, key: &Key, sequence: u64, index: u16) -> Vec<u8> {
    numbered(versions(space, key), sequence, index)
}

fn numbered(mut prefix: Vec<u8>, sequence: u64, index: u16) -> Vec<u8> {
    prefix.extend(sequence.to_be_bytes());
    prefix.extend(index.to_be_bytes());
    prefix
}

/// The sequence and index at the end of a key.
pub(crate) fn number_of(key: &[u8]) -> Result<(u64, u16), StoreError> {
    let (rest, index) = key.split_last_chunk::<2>().ok_or_else(unreadable)?;
    let (_, sequence) = rest.split_last_chunk::<8>().ok_or_else(unreadable)?;
    Ok((u64::from_be_bytes(*sequence), u16::from_be_bytes(*index)))
}

pub(crate) fn due(due_ms: u64, space: &SpaceName, key: &Key) -> Vec<u8> {
    let mut at = DUES.to_vec();
    at.extend(due_ms.to_be_bytes());
    at.extend(format!("{space}/{key}").into_bytes());
    at
}

/// When what is due, and what it is.
pub(crate) fn due_of(at: &[u8]) -> Result<(u64, SpaceName, Key), StoreError> {
    let rest = at.strip_prefix(DUES).ok_or_else(unreadable)?;
    let (due_ms, name) = rest.split_first_chunk::<8>().ok_or_else(unreadable)?;
    let name = std::str::from_utf8(name).map_err(|_| unreadable())?;
    let (space, key) = name.split_once('/').ok_or_else(unreadable)?;
    let space = space.parse().map_err(|_| unreadable())?;
    Ok((u64::from_be_bytes(*due_ms), space, key.parse().map_err(|_| unreadable())?))
}

pub(crate) fn dropped(sequence: u64) -> Vec<u8> {
    let mut at = DROPPED.to_vec();
    at.extend(sequence.to_be_bytes());
    at
}

/// The rest of a key of the view behind the prefix that it was found with.
pub(crate) fn name_after<T: std::str::FromStr>(at: &[u8], prefix: &[u8]) -> Result<T, StoreError> {
    let rest = at.strip_prefix(prefix).and_then(|rest| std::str::from_utf8(rest).ok());
    rest.and_then(|rest| rest.parse().ok()).ok_or_else(unreadable)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| broken(Box::new(error)))
}

pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| broken(Box::new(error)))
}

fn unreadable() -> StoreError {
    broken("not a key of this layout".into())
}

fn broken(source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Io { path: "view of the context".to_owned(), source }
}
