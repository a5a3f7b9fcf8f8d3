//! What each tool does.

use serde::Serialize;
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, Outcome, Result};
use uuid::Uuid;

use super::{
    Asked,
    answer::{self, ShownEvent, ShownItem, ShownSpace},
    arguments::{Arguments, Wrong},
};
use crate::{
    Changed, Condition, Expect, Key, ListQuery, LogQuery, Operation, Options, SpaceName, Transaction, Written,
};

/// Bytes of the keys and values of a snapshot that go into one result.
const MAX_SNAPSHOT_BYTES: u64 = 4 * 1024 * 1024;
/// Keys or events of one page, where none is asked for: a model reads them.
const PAGE: usize = 100;

/// Why a tool did not do it.
enum Not {
    /// Its arguments make no sense.
    Wrong(Wrong),
    /// The context refused, or is out of reach.
    Failed(Error),
}

impl From<Wrong> for Not {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Error> for Not {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Runs a tool.
pub(super) async fn call(asked: &Asked, tool: &str, arguments: Option<Json>) -> Outcome {
    let mut arguments = match Arguments::of("", arguments) {
        Ok(arguments) => arguments,
        Err(wrong) => return answer::wrong(&wrong),
    };
    let mut operation: Option<Uuid> = None;
    let done = match tool {
        "get" => get(asked, arguments).await,
        "list" => list(asked, arguments).await,
        "log" => log(asked, arguments).await,
        "snapshot" => snapshot(asked, arguments).await,
        "spaces" => spaces(asked, arguments).await,
        "put" | "patch" | "delete" | "append" | "txn" => match wanted(asked, tool, &mut arguments) {
            Ok(wanted) => {
                operation = wanted.options.operation;
                write(asked, arguments, wanted).await
            }
            Err(wrong) => Err(wrong.into()),
        },
        other => {
            let shown: String = other.chars().take(80).collect();
            return Err(Error::new(ErrorKind::InvalidParams, format!("unknown tool \"{shown}\"")));
        }
    };
    match done {
        Ok(outcome) => Ok(outcome),
        Err(Not::Wrong(wrong)) => answer::wrong(&wrong),
        Err(Not::Failed(error)) => answer::failed(error, operation),
    }
}

async fn get(asked: &Asked, mut arguments: Arguments) -> Result<Json, Not> {
    #[derive(Serialize)]
    struct Shown<'a> {
        found: bool,
        sequence: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        stale_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        item: Option<ShownItem<'a>>,
    }
    let (space, key, reading) = (arguments.space()?, arguments.key()?, arguments.reading(asked)?);
    arguments.end()?;
    let seen = asked.behalf.get(&space, &key, reading).await?;
    let item = seen.value.as_ref().map(ShownItem::from);
    Ok(answer::done(&Shown { found: item.is_some(), sequence: seen.sequence, stale_ms: seen.stale_ms, item })?)
}

async fn list(asked: &Asked, mut arguments: Arguments) -> Result<Json, Not> {
    let space = arguments.space()?;
    let query = ListQuery {
        prefix: arguments.maybe("prefix")?.unwrap_or_default(),
        after: arguments.after_key()?,
        limit: arguments.maybe("limit")?.unwrap_or(PAGE),
        values: arguments.maybe("values")?.unwrap_or_default(),
    };
    let reading = arguments.reading(asked)?;
    arguments.end()?;
    let seen = asked.behalf.list(&space, &query, reading).await?;
    let items = seen.value.items.iter().map(ShownItem::from).collect();
    Ok(answer::done(&ShownItems { items, next: seen.value.next, sequence: seen.sequence, stale_ms: seen.stale_ms })?)
}

#[derive(Serialize)]
struct ShownItems<'a> {
    items: Vec<ShownItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Key>,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_ms: Option<u64>,
}

async fn snapshot(asked: &Asked, mut arguments: Arguments) -> Result<Json, Not> {
    let (space, reading) = (arguments.space()?, arguments.reading(asked)?);
    arguments.end()?;
    let seen = asked.behalf.snapshot(&space, "", MAX_SNAPSHOT_BYTES, reading).await?;
    let items = seen.value.iter().map(ShownItem::from).collect();
    Ok(answer::done(&ShownItems { items, next: None, sequence: seen.sequence, stale_ms: seen.stale_ms })?)
}

async fn log(asked: &Asked, mut arguments: Arguments) -> Result<Json, Not> {
    #[derive(Serialize)]
    struct Shown<'a> {
        events: Vec<ShownEvent<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<u64>,
        first: u64,
        sequence: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        stale_ms: Option<u64>,
    }
    let space = arguments.space()?;
    let query = LogQuery {
        from: arguments.maybe("from")?.unwrap_or_default(),
        limit: arguments.maybe("limit")?.unwrap_or(PAGE),
        prefix: arguments.maybe("prefix")?.unwrap_or_default(),
        values: arguments.maybe("values")?.unwrap_or(true),
    };
    let reading = arguments.reading(asked)?;
    arguments.end()?;
    let seen = asked.behalf.log(&space, &query, reading).await?;
    let page = &seen.value;
    let events = page.events.iter().map(ShownEvent::from).collect();
    let (next, first) = (page.next, page.first);
    Ok(answer::done(&Shown { events, next, first, sequence: seen.sequence, stale_ms: seen.stale_ms })?)
}

async fn spaces(asked: &Asked, mut arguments: Arguments) -> Result<Json, Not> {
    #[derive(Serialize)]
    struct Shown<'a> {
        spaces: Vec<ShownSpace<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<&'a SpaceName>,
    }
    let prefix: String = arguments.maybe("prefix")?.unwrap_or_default();
    let (after, limit) = (arguments.after_space()?, arguments.maybe("limit")?.unwrap_or(PAGE));
    // A sequence is one of one shard, and spaces are in all of them.
    let reading = arguments.reading_of_all(asked)?;
    arguments.end()?;
    let found = asked.behalf.spaces(&prefix, after.as_ref(), limit, reading).await?;
    let is_cut = limit > 0 && found.len() >= limit.min(crate::MAX_PAGE);
    let next = found.last().filter(|_| is_cut).map(|info| &info.name);
    Ok(answer::done(&Shown { spaces: found.iter().map(ShownSpace::from).collect(), next })?)
}

/// A write as its arguments say it.
struct Wanted {
    space: SpaceName,
    transaction: Transaction,
    options: Options,
    is_single: bool,
}

fn wanted(asked: &Asked, tool: &str, arguments: &mut Arguments) -> Result<Wanted, Wrong> {
    let (space, options) = (arguments.space()?, arguments.options(asked)?);
    let is_single = tool != "txn";
    let transaction = if is_single {
        let operation = operation(tool, arguments)?;
        let conditions = arguments.condition(operation.key())?;
        Transaction { conditions, operations: vec![operation] }
    } else {
        Transaction { conditions: conditions(arguments)?, operations: operations(arguments)? }
    };
    Ok(Wanted { space, transaction, options, is_single })
}

/// One operation, from the arguments of its tool or from an entry of `txn`.
fn operation(tool: &str, arguments: &mut Arguments) -> Result<Operation, Wrong> {
    let key = arguments.key()?;
    match tool {
        "put" => {
            let value = arguments.raw("value").ok_or_else(|| arguments.missing("value"))?;
            Ok(Operation::Put { key, value, ttl_ms: arguments.maybe("ttl_ms")? })
        }
        "patch" => match (arguments.raw("merge"), arguments.raw("steps")) {
            (Some(patch), None) => Ok(Operation::PatchMerge { key, patch }),
            (None, Some(patch)) => Ok(Operation::PatchJson { key, patch }),
            (None, None) => Err(arguments.wrong("merge", "is missing; give merge or steps")),
            (Some(_), Some(_)) => Err(arguments.wrong("steps", "does not go with merge")),
        },
        "delete" => Ok(Operation::Delete { key }),
        "append" => {
            let values = arguments.maybe::<Vec<Json>>("values")?.ok_or_else(|| arguments.missing("values"))?;
            Ok(Operation::Append { key, values })
        }
        other => Err(arguments.wrong("op", &format!("there is no \"{other}\"; use put, patch, delete or append"))),
    }
}

fn conditions(arguments: &mut Arguments) -> Result<Vec<Condition>, Wrong> {
    let wanted = arguments.maybe::<Vec<Json>>("conditions")?.unwrap_or_default();
    let read = |(at, condition): (usize, Json)| {
        let mut condition = Arguments::of(&format!("conditions[{at}]."), Some(condition))?;
        let key = condition.key()?;
        let version = condition.maybe::<u64>("version")?;
        let exists = condition.maybe::<bool>("exists")?;
        let is = match (version, exists) {
            (Some(version), None | Some(true)) => Expect::Version(version),
            (None, Some(true)) => Expect::Exists,
            (None, Some(false)) => Expect::Absent,
            (None, None) => return Err(condition.wrong("version", "is missing; give version or exists")),
            (Some(_), Some(false)) => return Err(condition.wrong("exists", "does not go with version")),
        };
        condition.end()?;
        Ok(Condition { key, is })
    };
    wanted.into_iter().enumerate().map(read).collect()
}

fn operations(arguments: &mut Arguments) -> Result<Vec<Operation>, Wrong> {
    let wanted = arguments.maybe::<Vec<Json>>("operations")?.ok_or_else(|| arguments.missing("operations"))?;
    let read = |(at, entry): (usize, Json)| {
        let mut entry = Arguments::of(&format!("operations[{at}]."), Some(entry))?;
        let op = entry.maybe::<String>("op")?.ok_or_else(|| entry.missing("op"))?;
        let operation = operation(&op, &mut entry)?;
        entry.end()?;
        Ok(operation)
    };
    wanted.into_iter().enumerate().map(read).collect()
}

async fn write(asked: &Asked, arguments: Arguments, wanted: Wanted) -> Result<Json, Not> {
    #[derive(Serialize)]
    struct Shown<'a> {
        sequence: u64,
        #[serde(flatten)]
        single: Option<ShownChange<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        results: Option<Vec<ShownChange<'a>>>,
    }
    arguments.end()?;
    let Wanted { space, transaction, options, is_single } = wanted;
    let Written { sequence, results } = asked.behalf.write(&space, transaction, options).await?;
    let mut shown: Vec<_> = results.iter().map(ShownChange::from).collect();
    let single = if is_single { shown.pop() } else { None };
    Ok(answer::done(&Shown { sequence, single, results: (!is_single).then_some(shown) })?)
}

#[derive(Serialize)]
struct ShownChange<'a> {
    key: &'a Key,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
}

impl<'a> From<&'a Changed> for ShownChange<'a> {
    fn from(changed: &'a Changed) -> Self {
        let Changed { key, version, changed, length } = changed;
        Self { key, version: *version, changed: *changed, length: *length }
    }
}
