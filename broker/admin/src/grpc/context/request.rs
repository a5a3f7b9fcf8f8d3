//! What was asked, as the context takes it.

use std::time::Duration;

use bytes::Bytes;
use spanwire_context::{Condition, Expect, Key, ListQuery, Operation, Options, Reading, SpaceName, Transaction};
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, ReadLevel, Result};
use spanwire_rpc::v1::{
    self, ContextReadLevel as Level, context_condition::Expect as Expected, context_operation::Change,
};
use tokio::time::Instant;
use uuid::Uuid;

/// How long a request waits that does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest that a request waits.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Entries of a page that does not say.
const DEFAULT_PAGE: usize = 100;
/// Most entries of a page.
const MAX_PAGE: usize = 1000;

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParams, text.into())
}

pub(super) fn space(name: &str) -> Result<SpaceName> {
    Ok(name.parse::<SpaceName>()?)
}

pub(super) fn key(name: &str) -> Result<Key> {
    Ok(name.parse::<Key>()?)
}

fn deadline(timeout_ms: u64) -> Instant {
    let timeout = match timeout_ms {
        0 => DEFAULT_TIMEOUT,
        ms => Duration::from_millis(ms).min(MAX_TIMEOUT),
    };
    Instant::now() + timeout
}

/// How many entries a page has.
pub(super) fn limit(limit: u32) -> usize {
    match limit {
        0 => DEFAULT_PAGE,
        limit => (limit as usize).min(MAX_PAGE),
    }
}

/// How a read is made.
pub(super) fn reading(read: Option<v1::ContextRead>) -> Result<Reading> {
    let read = read.unwrap_or_default();
    let level = Level::try_from(read.level).map_err(|_| invalid(format!("there is no read level {}", read.level)))?;
    let level = match (level, read.at_least) {
        (Level::Unspecified | Level::AtLeast, sequence @ 1..) => ReadLevel::AtLeast(sequence),
        (Level::Unspecified | Level::Local, 0) => ReadLevel::Local,
        (Level::Linearizable, 0) => ReadLevel::Linearizable,
        (Level::AtLeast, 0) => return Err(invalid("the read level \"at least\" needs \"at_least\", a sequence")),
        (Level::Local | Level::Linearizable, _) => {
            return Err(invalid("\"at_least\" goes with the read level \"at least\" only"));
        }
    };
    Ok(Reading { level, deadline: deadline(read.timeout_ms) })
}

/// How a read of all shards is made: a sequence is of one shard only.
pub(super) fn reading_of_all(read: Option<v1::ContextRead>) -> Result<Reading> {
    match reading(read)? {
        Reading { level: ReadLevel::AtLeast(_), .. } => {
            Err(invalid("spaces are in several shards: read them locally or linearizably"))
        }
        reading @ Reading { level: ReadLevel::Local | ReadLevel::Linearizable, .. } => Ok(reading),
    }
}

pub(super) fn list_query(request: v1::ContextListRequest) -> Result<ListQuery> {
    let after = Some(request.after).filter(|after| !after.is_empty()).map(|after| key(&after)).transpose()?;
    Ok(ListQuery { prefix: request.prefix, after, limit: limit(request.limit), values: !request.without_values })
}

/// How a write is made. It always has an id, so that an answer that got lost can be asked for again.
pub(super) fn options(operation: &str, timeout_ms: u64) -> Result<Options> {
    let operation = match operation {
        "" => Uuid::now_v7(),
        text => text.parse().map_err(|_| invalid("\"operation\" is not a UUID"))?,
    };
    Ok(Options { operation: Some(operation), deadline: deadline(timeout_ms) })
}

fn json(member: &str, bytes: Bytes) -> Result<Json> {
    Json::parse(bytes).map_err(|_| invalid(format!("\"{member}\" is not json")))
}

pub(super) fn put(request: v1::ContextPutRequest) -> Result<Transaction> {
    let key = key(&request.key)?;
    let value = json("value_json", request.value_json)?;
    let transaction =
        Transaction::one(Operation::Put { key: key.clone(), value, ttl_ms: Some(request.ttl_ms).filter(|ms| *ms > 0) });
    match (request.if_version, request.if_absent) {
        (0, false) => Ok(transaction),
        (0, true) => Ok(transaction.when(key, Expect::Absent)),
        (version, false) => Ok(transaction.when(key, Expect::Version(version))),
        (_, true) => Err(invalid("\"if_version\" and \"if_absent\" exclude each other")),
    }
}

pub(super) fn transaction(
    conditions: Vec<v1::ContextCondition>,
    operations: Vec<v1::ContextOperation>,
) -> Result<Transaction> {
    Ok(Transaction {
        conditions: conditions.into_iter().map(condition).collect::<Result<_>>()?,
        operations: operations.into_iter().map(operation).collect::<Result<_>>()?,
    })
}

fn condition(condition: v1::ContextCondition) -> Result<Condition> {
    let key = key(&condition.key)?;
    let is = match condition.expect {
        Some(Expected::Version(version)) => Expect::Version(version),
        Some(Expected::Absent(true)) => Expect::Absent,
        Some(Expected::Exists(true)) => Expect::Exists,
        Some(Expected::Absent(false) | Expected::Exists(false)) | None => {
            return Err(invalid(format!("the condition on \"{key}\" does not say what must hold")));
        }
    };
    Ok(Condition { key, is })
}

fn operation(operation: v1::ContextOperation) -> Result<Operation> {
    let key = key(&operation.key)?;
    let ttl_ms = Some(operation.ttl_ms).filter(|ms| *ms > 0);
    let change = operation.change;
    if ttl_ms.is_some() && !matches!(change, Some(Change::PutJson(_))) {
        return Err(invalid(format!("the operation on \"{key}\" has a time to live, which only a put takes")));
    }
    match change {
        Some(Change::PutJson(value)) => Ok(Operation::Put { key, value: json("put_json", value)?, ttl_ms }),
        Some(Change::MergeJson(patch)) => Ok(Operation::PatchMerge { key, patch: json("merge_json", patch)? }),
        Some(Change::PatchJson(patch)) => Ok(Operation::PatchJson { key, patch: json("patch_json", patch)? }),
        Some(Change::AppendJson(values)) => {
            let values = json("append_json", values)?.read().map_err(|_| invalid("\"append_json\" is not an array"))?;
            Ok(Operation::Append { key, values })
        }
        Some(Change::Delete(true)) => Ok(Operation::Delete { key }),
        Some(Change::Delete(false)) | None => {
            Err(invalid(format!("the operation on \"{key}\" does not say what is done")))
        }
    }
}
