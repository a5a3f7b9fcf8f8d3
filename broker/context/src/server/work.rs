//! What each tool does.

use serde::Serialize;
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, Outcome, Result};
use uuid::Uuid;

use super::{
    Asked,
    answer::{self, ShownEvent, ShownItem, ShownSpace},
    arguments::{Arguments, Wrong},
    wanted::{Wanted, wanted},
};
use crate::{Changed, Key, ListQuery, LogQuery, Options, SpaceName, Written, name::shown};

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
        "get" => get(asked, arguments.of_read()).await,
        "list" => list(asked, arguments.of_read()).await,
        "log" => log(asked, arguments.of_read()).await,
        "snapshot" => snapshot(asked, arguments.of_read()).await,
        "spaces" => spaces(asked, arguments.of_read()).await,
        "drop" => match arguments.options(asked) {
            Ok(options) => {
                operation = options.operation;
                drop_space(asked, arguments, options).await
            }
            Err(wrong) => Err(wrong.into()),
        },
        "put" | "patch" | "delete" | "append" | "txn" => match wanted(asked, tool, &mut arguments) {
            Ok(wanted) => {
                operation = wanted.options.operation;
                write(asked, arguments, wanted).await
            }
            Err(wrong) => Err(wrong.into()),
        },
        other => {
            return Err(Error::new(ErrorKind::InvalidParams, format!("unknown tool \"{}\"", shown(other))));
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
        prefix: arguments.prefix()?,
        after: arguments.after_key()?,
        limit: arguments.limit(PAGE)?,
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
        from: arguments.first_sequence()?,
        limit: arguments.limit(PAGE)?,
        prefix: arguments.prefix()?,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        stale_ms: Option<u64>,
    }
    let prefix = arguments.prefix()?;
    let (after, limit) = (arguments.after_space()?, arguments.limit(PAGE)?);
    // A sequence is one of one shard, and spaces are in all of them.
    let reading = arguments.reading_of_all(asked)?;
    arguments.end()?;
    let page = asked.behalf.spaces(&prefix, after.as_ref(), limit, reading).await?;
    let spaces = page.spaces.iter().map(ShownSpace::from).collect();
    Ok(answer::done(&Shown { spaces, next: page.next.as_ref(), stale_ms: page.stale_ms })?)
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

async fn drop_space(asked: &Asked, mut arguments: Arguments, options: Options) -> Result<Json, Not> {
    #[derive(Serialize)]
    struct Shown {
        dropped: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        keys: Option<u64>,
    }
    let space = arguments.space()?;
    arguments.end()?;
    let keys = asked.behalf.drop_space(&space, options).await?;
    Ok(answer::done(&Shown { dropped: keys.is_some(), keys })?)
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
