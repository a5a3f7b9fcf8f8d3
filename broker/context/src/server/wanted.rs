//! What a tool that writes is asked to do.

use spanwire_mcp::Json;

use super::{
    Asked,
    arguments::{Arguments, Wrong},
};
use crate::{Condition, Expect, Operation, Options, Quotas, SpaceName, Transaction, name::shown, patch};

/// A write as its arguments say it.
pub(super) struct Wanted {
    pub(super) space: SpaceName,
    pub(super) transaction: Transaction,
    pub(super) options: Options,
    /// One operation of a tool of its own.
    pub(super) is_single: bool,
}

/// Reads the arguments of a tool; who calls this makes sure that none is left over.
pub(super) fn wanted(asked: &Asked, tool: &str, arguments: &mut Arguments) -> Result<Wanted, Wrong> {
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
            Ok(Operation::Put { key, value, ttl_ms: arguments.ttl_ms()? })
        }
        "patch" => match (arguments.raw("merge"), arguments.raw("steps")) {
            (Some(patch), None) => Ok(Operation::PatchMerge { key, patch }),
            (None, Some(patch)) => {
                check_steps(arguments, &patch)?;
                Ok(Operation::PatchJson { key, patch })
            }
            (None, None) => Err(arguments.wrong("merge", "is missing; give merge or steps")),
            (Some(_), Some(_)) => Err(arguments.wrong("steps", "does not go with merge")),
        },
        "delete" => Ok(Operation::Delete { key }),
        "append" => {
            let values = arguments.required::<Vec<Json>>("values")?;
            if values.is_empty() {
                return Err(arguments.wrong("values", "must have an element"));
            }
            Ok(Operation::Append { key, values })
        }
        other => {
            let text = format!("there is no \"{}\"; use put, patch, delete or append", shown(other));
            Err(arguments.wrong("op", &text))
        }
    }
}

/// Refuses what is no JSON patch, whatever the value is. Members that the RFC does not name are passed over, as it says.
fn check_steps(arguments: &Arguments, patch: &Json) -> Result<(), Wrong> {
    for mut step in arguments.objects_of("steps", patch, patch::MAX_STEPS as u64)? {
        let op = step.required::<String>("op")?;
        let (path, from) = (step.required::<String>("path")?, step.maybe::<String>("from")?);
        for (name, pointer) in [("path", Some(&path)), ("from", from.as_ref())] {
            if pointer.is_some_and(|pointer| !patch::is_pointer(pointer)) {
                return Err(step.wrong(name, "must be a JSON pointer, as in /team/0"));
            }
        }
        match op.as_str() {
            "add" | "replace" | "test" if step.raw("value").is_none() => return Err(step.missing("value")),
            "move" | "copy" if from.is_none() => return Err(step.missing("from")),
            "add" | "replace" | "test" | "move" | "copy" | "remove" => {}
            other => {
                let text = format!("there is no \"{}\"; use add, remove, replace, move, copy or test", shown(other));
                return Err(step.wrong("op", &text));
            }
        }
    }
    Ok(())
}

fn conditions(arguments: &mut Arguments) -> Result<Vec<Condition>, Wrong> {
    let wanted = arguments.objects("conditions", Quotas::CEILING.operations)?.unwrap_or_default();
    let read = |mut condition: Arguments| {
        let key = condition.key()?;
        let version = condition.version("version")?;
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
    wanted.into_iter().map(read).collect()
}

fn operations(arguments: &mut Arguments) -> Result<Vec<Operation>, Wrong> {
    let wanted = arguments.objects("operations", Quotas::CEILING.operations)?;
    let wanted = wanted.ok_or_else(|| arguments.missing("operations"))?;
    if wanted.is_empty() {
        return Err(arguments.wrong("operations", "a transaction needs an operation"));
    }
    let read = |mut entry: Arguments| {
        let op = entry.required::<String>("op")?;
        let operation = operation(&op, &mut entry)?;
        entry.end()?;
        Ok(operation)
    };
    wanted.into_iter().map(read).collect()
}
