//! Conditions and operations.

use std::collections::BTreeSet;

use spanwire_mcp::Json;
use spanwire_model::{Entry, ViewMut};

use super::{
    Stop, outcome,
    refuse::{self, invalid},
    space::{Set, Space},
};
use crate::{
    EventKind, Expect, Key, Operation, Quotas, SpaceName, Transaction,
    command::{self, Done, Outcome},
    layout::MetaRecord,
    patch::{self, Misfit},
};

/// Changes a space: everything or nothing.
pub(super) fn apply(
    view: &mut dyn ViewMut,
    entry: &Entry,
    space: &SpaceName,
    transaction: &Transaction,
    quotas: Quotas,
) -> Result<Json, Stop> {
    check(transaction, &quotas)?;
    let mut space = Space::open(view, entry, space, quotas)?;
    for condition in &transaction.conditions {
        let there = space.meta(&condition.key)?;
        let holds = match condition.is {
            Expect::Absent => there.is_none(),
            Expect::Exists => there.is_some(),
            Expect::Version(version) => there.as_ref().is_some_and(|meta| meta.version == version),
        };
        if !holds {
            return Err(refuse::unmet(&condition.key, there.as_ref(), condition.is).into());
        }
    }
    let mut done = Vec::with_capacity(transaction.operations.len());
    for operation in &transaction.operations {
        done.push(operate(&mut space, operation)?);
    }
    let of = command::digest(space.name, transaction).map_err(|_| invalid("the transaction is not JSON"))?;
    space.finish()?;
    outcome(&Outcome { of, done })
}

/// What makes no sense whatever is there.
fn check(transaction: &Transaction, quotas: &Quotas) -> Result<(), Stop> {
    let Transaction { conditions, operations } = transaction;
    if operations.is_empty() {
        return Err(invalid("a transaction needs an operation").into());
    }
    for (what, count) in
        [("operations of a transaction", operations.len()), ("conditions of a transaction", conditions.len())]
    {
        if count as u64 > quotas.operations {
            return Err(refuse::quota(what, "operations", count as u64, quotas.operations).into());
        }
    }
    let mut keys = BTreeSet::new();
    for operation in operations {
        let key = operation.key();
        // So that a version is one value.
        if !keys.insert(key) {
            return Err(invalid(format!("key \"{key}\" stands in two operations of one transaction")).into());
        }
        let (deep, what) = match operation {
            Operation::Put { value, .. } => (patch::is_too_deep(value), "value"),
            Operation::PatchMerge { patch, .. } | Operation::PatchJson { patch, .. } => {
                (patch::is_too_deep(patch), "patch")
            }
            Operation::Append { values, .. } if values.is_empty() => {
                return Err(invalid(format!("nothing is appended to key \"{key}\"")).into());
            }
            Operation::Append { values, .. } => (values.iter().any(patch::is_too_deep), "value"),
            Operation::Delete { .. } => (false, "value"),
        };
        if deep {
            let text = format!("the {what} of key \"{key}\" nests deeper than {} levels", patch::MAX_DEPTH);
            return Err(invalid(text).into());
        }
    }
    Ok(())
}

fn operate(space: &mut Space<'_>, operation: &Operation) -> Result<Done, Stop> {
    let key = operation.key();
    let old = space.meta(key)?;
    let kept_due = old.as_ref().and_then(|old| old.due_ms);
    let set = match operation {
        Operation::Put { value, ttl_ms, .. } => {
            if *ttl_ms == Some(0) {
                return Err(invalid(format!("key \"{key}\" would live for 0 ms")).into());
            }
            let due_ms = ttl_ms.map(|ttl_ms| space.entry.time_ms.saturating_add(ttl_ms));
            Set { kind: EventKind::Put, value: value.clone(), told: None, due_ms, length: None }
        }
        Operation::PatchMerge { patch, .. } => {
            let value = patch::merge(space.value(key)?.as_ref(), patch);
            Set { kind: EventKind::Patch, value, told: None, due_ms: kept_due, length: None }
        }
        Operation::PatchJson { patch, .. } => {
            let value = patched(space, key, old.as_ref(), patch)?;
            Set { kind: EventKind::Patch, value, told: None, due_ms: kept_due, length: None }
        }
        Operation::Delete { .. } => {
            let Some(old) = old else { return Ok(Done { idle: true, ..Done::default() }) };
            space.remove(EventKind::Delete, key, &old)?;
            return Ok(Done::default());
        }
        Operation::Append { values, .. } => appended(space, key, old.as_ref(), values)?,
    };
    if matches!(set.kind, EventKind::Patch | EventKind::Append) && patch::is_too_deep(&set.value) {
        let text = format!("key \"{key}\" would nest deeper than {} levels", patch::MAX_DEPTH);
        return Err(invalid(text).into());
    }
    let length = set.length;
    space.set(key, old.as_ref(), set)?;
    Ok(Done { version: Some(space.entry.sequence), length, idle: false })
}

fn patched(space: &Space<'_>, key: &Key, old: Option<&MetaRecord>, steps: &Json) -> Result<Json, Stop> {
    let Some(value) = space.value(key)? else {
        return Err(refuse::conflict(format!("key \"{key}\" is not there to be patched"), key, None, None).into());
    };
    patch::json_patch(&value, steps).map_err(|misfit| match misfit {
        Misfit::Patch(why) => invalid(format!("the patch of key \"{key}\" is none: {why}")).into(),
        Misfit::Value(why) => {
            refuse::conflict(format!("the patch does not fit key \"{key}\": {why}"), key, old, None).into()
        }
    })
}

fn appended(space: &Space<'_>, key: &Key, old: Option<&MetaRecord>, values: &[Json]) -> Result<Set, Stop> {
    let array = space.value(key)?.unwrap_or_else(|| Json::from_trusted(&b"[]"[..]));
    let Some(inner) = array.as_str().strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
        let text = format!("key \"{key}\" holds no array to append to");
        return Err(refuse::conflict(text, key, old, None).into());
    };
    let counted = old.and_then(|old| old.length);
    let length = counted.unwrap_or_else(|| array.elements().count() as u64);
    let added: Vec<&str> = values.iter().map(Json::as_str).collect();
    let added = added.join(",");
    let value = if length == 0 { format!("[{added}]") } else { format!("[{inner},{added}]") };
    Ok(Set {
        kind: EventKind::Append,
        value: Json::from_trusted(value),
        told: Some(Json::from_trusted(format!("[{added}]"))),
        due_ms: old.and_then(|old| old.due_ms),
        length: Some(length + values.len() as u64),
    })
}
