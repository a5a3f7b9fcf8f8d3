//! How refusals read: for people in the text, for models and programs in the data.

use serde::Serialize;
use spanwire_mcp::Json;
use spanwire_model::{Refusal, RefusalReason};

use crate::{Expect, Key, Writer, layout::MetaRecord};

/// What makes no sense, whatever is there.
pub(super) fn invalid(text: impl Into<String>) -> Refusal {
    Refusal { reason: RefusalReason::Invalid, text: text.into(), data: None }
}

/// What is there, for whoever expected something else.
#[derive(Serialize)]
struct There<'a> {
    kind: &'static str,
    retry: &'static str,
    key: &'a Key,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer: Option<&'a Writer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expect>,
}

/// What does not fit what is there.
pub(super) fn conflict(text: String, key: &Key, there: Option<&MetaRecord>, expected: Option<Expect>) -> Refusal {
    let data = There {
        kind: "conflict",
        retry: "never",
        key,
        exists: there.is_some(),
        version: there.map(|meta| meta.version),
        time_ms: there.map(|meta| meta.time_ms),
        writer: there.map(|meta| &meta.writer),
        expected,
    };
    Refusal { reason: RefusalReason::Conflict, text, data: Json::from_serialize(&data).ok() }
}

/// A condition that does not hold.
pub(super) fn unmet(key: &Key, there: Option<&MetaRecord>, expected: Expect) -> Refusal {
    let is = match there {
        Some(meta) => format!("is there in version {}, written by \"{}\"", meta.version, meta.writer.principal),
        None => "is not there".to_owned(),
    };
    let wanted = match expected {
        Expect::Absent => "not to be there".to_owned(),
        Expect::Exists => "to be there".to_owned(),
        Expect::Version(version) => format!("to be there in version {version}"),
    };
    conflict(format!("key \"{key}\" {is}; it was expected {wanted}"), key, there, Some(expected))
}

/// What would be more than a limit.
pub(super) fn quota(what: &str, quota: &'static str, wanted: u64, limit: u64) -> Refusal {
    #[derive(Serialize)]
    struct Data {
        kind: &'static str,
        retry: &'static str,
        quota: &'static str,
        wanted: u64,
        limit: u64,
    }
    let data = Data { kind: "quota_exceeded", retry: "never", quota, wanted, limit };
    Refusal {
        reason: RefusalReason::Quota,
        text: format!("{what}: {wanted}, the limit is {limit}"),
        data: Json::from_serialize(&data).ok(),
    }
}
