//! What `spanwire ctx txn` reads. It is stricter than what the machine keeps: a misspelt condition must not become none.

use std::num::NonZeroU64;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use spanwire_context::{Expect, Key};
use spanwire_rpc::v1::{ContextCondition, ContextOperation, context_condition, context_operation::Change};

/// A transaction as it is written in a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, rename = "if")]
    conditions: Vec<Condition>,
    #[serde(rename = "do")]
    operations: Vec<Operation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    key: Key,
    is: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    Put {
        key: Key,
        value: Box<RawValue>,
        /// On the wire 0 is for ever.
        #[serde(default)]
        ttl_ms: Option<NonZeroU64>,
    },
    PatchMerge {
        key: Key,
        patch: Box<RawValue>,
    },
    PatchJson {
        key: Key,
        patch: Box<RawValue>,
    },
    Append {
        key: Key,
        values: Vec<Box<RawValue>>,
    },
    Delete {
        key: Key,
    },
}

impl File {
    /// What goes over the wire.
    pub(super) fn into_messages(self) -> (Vec<ContextCondition>, Vec<ContextOperation>) {
        let conditions = self.conditions.into_iter().map(Condition::into_message).collect();
        (conditions, self.operations.into_iter().map(Operation::into_message).collect())
    }
}

impl Condition {
    fn into_message(self) -> ContextCondition {
        let expect = match self.is {
            Expect::Absent => context_condition::Expect::Absent(true),
            Expect::Exists => context_condition::Expect::Exists(true),
            Expect::Version(version) => context_condition::Expect::Version(version),
        };
        ContextCondition { key: self.key.to_string(), expect: Some(expect) }
    }
}

impl Operation {
    fn into_message(self) -> ContextOperation {
        let bytes = |json: Box<RawValue>| Bytes::from(String::from(Box::<str>::from(json)));
        let (key, change, ttl_ms) = match self {
            Self::Put { key, value, ttl_ms } => (key, Change::PutJson(bytes(value)), ttl_ms),
            Self::PatchMerge { key, patch } => (key, Change::MergeJson(bytes(patch)), None),
            Self::PatchJson { key, patch } => (key, Change::PatchJson(bytes(patch)), None),
            Self::Append { key, values } => {
                let values: Vec<&str> = values.iter().map(|value| value.get()).collect();
                (key, Change::AppendJson(Bytes::from(format!("[{}]", values.join(",")))), None)
            }
            Self::Delete { key } => (key, Change::Delete(true), None),
        };
        ContextOperation { key: key.to_string(), change: Some(change), ttl_ms: ttl_ms.map_or(0, NonZeroU64::get) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, part) in [
            (r#"{"iff":[{"key":"k","is":"absent"}],"do":[]}"#, "unknown field `iff`"),
            (r#"{"if":[{"key":"k","is":"absent","or":1}],"do":[]}"#, "unknown field `or`"),
            (r#"{"if":[{"key":"k","is":{"version":1,"x":2}}],"do":[]}"#, "expected"),
            (r#"{"do":[{"put":{"key":"k","value":1,"ttl":5}}]}"#, "unknown field `ttl`"),
            (r#"{"do":[{"put":{"key":"k","value":1,"ttl_ms":0}}]}"#, "nonzero"),
            (r#"{"do":[{"delete":{"key":"k","if_version":1}}]}"#, "unknown field `if_version`"),
            (r#"{"do":[{"remove":{"key":"k"}}]}"#, "unknown variant `remove`"),
            (r#"{"do":[{"put":{"key":"","value":1}}]}"#, "invalid key"),
            ("{}", "missing field `do`"),
        ] {
            let error = serde_json::from_str::<File>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn values_go_as_they_were_written() {
        let text = r#"{"if":[{"key":"k","is":{"version":3}}],"do":[{"put":{"key":"k","value":{"z":1.10,"a":1e999},"ttl_ms":5}},
            {"append":{"key":"l","values":[1.0,{"b":2}]}},{"delete":{"key":"m"}}]}"#;
        let (conditions, operations) = serde_json::from_str::<File>(text).unwrap().into_messages();
        assert_eq!(conditions[0].expect, Some(context_condition::Expect::Version(3)));
        assert_eq!(operations[0].change, Some(Change::PutJson(Bytes::from(r#"{"z":1.10,"a":1e999}"#))));
        assert_eq!((operations[0].ttl_ms, operations[1].ttl_ms), (5, 0));
        assert_eq!(operations[1].change, Some(Change::AppendJson(Bytes::from(r#"[1.0,{"b":2}]"#))));
        assert_eq!(operations[2].change, Some(Change::Delete(true)));
    }
}
