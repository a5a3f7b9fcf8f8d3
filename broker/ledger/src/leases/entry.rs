//! What a message of the bucket says.

use std::sync::Arc;

use async_nats::HeaderMap;
use serde::{Deserialize, Serialize};
use spanwire_model::NodeId;
use uuid::Uuid;

/// Set by the server on a message that stands for one that has expired or was removed.
const MARKER_REASON: &str = "Nats-Marker-Reason";
/// Set by us on a message that stands for a lease that was given back. The server knows it from its own buckets, and does not put a
/// marker of its own behind it.
pub(super) const OPERATION: &str = "KV-Operation";
pub(super) const GIVEN_BACK: &str = "PURGE";

/// Who has a lease: the payload of each message that takes or renews one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Value {
    pub(super) node: NodeId,
    /// The process: after a restart a node is another holder.
    pub(super) incarnation: Arc<str>,
    /// The attempt that wrote it, by which an attempt with an unknown outcome is recognised.
    pub(super) attempt: Arc<str>,
    /// The sequence of the message that took it. Absent in that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<u64>,
}

/// The last message of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Somebody has it.
    Held {
        /// The sequence of the message.
        revision: u64,
        /// Who.
        value: Value,
    },
    /// Nobody has it any more; what takes it must name this sequence.
    Free {
        /// The sequence of the marker.
        revision: u64,
    },
    /// Something that is not ours, or newer than we are. It is held by nobody that we know, and not free either.
    Strange,
}

impl Entry {
    pub(super) fn read(revision: u64, headers: Option<&HeaderMap>, payload: &[u8]) -> Self {
        let is_marker =
            headers.is_some_and(|headers| headers.get(MARKER_REASON).is_some() || headers.get(OPERATION).is_some());
        if is_marker {
            return Self::Free { revision };
        }
        match serde_json::from_slice(payload) {
            Ok(value) => Self::Held { revision, value },
            Err(_) => Self::Strange,
        }
    }
}

/// A text that no other call returns.
pub(super) fn unique() -> Arc<str> {
    Uuid::new_v4().simple().to_string().into()
}

impl Value {
    /// The fencing token, given the sequence of the message.
    pub(super) fn token(&self, revision: u64) -> u64 {
        self.token.unwrap_or(revision)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn messages_are_read() {
        let taken = br#"{"node":"a","incarnation":"0001","attempt":"0002"}"#;
        let Entry::Held { revision: 7, value } = Entry::read(7, None, taken) else { unreachable!() };
        assert_eq!((value.node.as_str(), value.token(7)), ("a", 7));
        assert_eq!(serde_json::to_vec(&value).unwrap(), taken);
        let renewed = serde_json::to_vec(&Value { token: Some(7), ..value }).unwrap();
        let Entry::Held { value, .. } = Entry::read(9, None, &renewed) else { unreachable!() };
        assert_eq!(value.token(9), 7);
        for (name, text) in [(MARKER_REASON, "MaxAge"), (OPERATION, GIVEN_BACK)] {
            let mut headers = HeaderMap::new();
            headers.insert(name, text);
            assert_eq!(Entry::read(8, Some(&headers), b""), Entry::Free { revision: 8 });
        }
        assert_eq!(Entry::read(8, None, b"{}"), Entry::Strange);
    }
}
