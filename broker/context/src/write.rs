//! From a wish to a receipt.

use serde_json::json;
use spanwire_mcp::Json;
use spanwire_model::{Author, Command, Error, ErrorKind, Receipt, Result, Shard};
use uuid::Uuid;

use crate::{
    Changed, Contexts, Options, SpaceName, Transaction, Written,
    command::{self, Body, Dropped, Outcome},
};

/// Changes a space.
pub(crate) async fn write(
    contexts: &Contexts,
    author: &Author,
    space: &SpaceName,
    transaction: Transaction,
    options: Options,
) -> Result<Written> {
    let of = command::digest(space, &transaction).map_err(not_json)?;
    let keys: Vec<_> = transaction.operations.iter().map(|operation| operation.key().clone()).collect();
    let body = Body::Write { space: space.clone(), transaction, quotas: *contexts.quotas() };
    let receipt = append(contexts, author, Contexts::shard_of(space), &body, options).await?;
    let outcome: Outcome = read(receipt.outcome.map_err(Error::from)?)?;
    if outcome.of != of {
        let text = "the operation id was used for another write before; each write needs one of its own";
        return Err(Error::new(ErrorKind::Conflict, text));
    }
    let results = keys.into_iter().zip(outcome.done).map(|(key, done)| Changed {
        key,
        version: done.version,
        changed: !done.idle,
        length: done.length,
    });
    Ok(Written { sequence: receipt.sequence, results: results.collect() })
}

/// Removes a space.
pub(crate) async fn drop_space(
    contexts: &Contexts,
    author: &Author,
    space: &SpaceName,
    options: Options,
) -> Result<Option<u64>> {
    let body = Body::Drop { space: space.clone() };
    let receipt = append(contexts, author, Contexts::shard_of(space), &body, options).await?;
    let outcome: Dropped = read(receipt.outcome.map_err(Error::from)?)?;
    Ok(outcome.keys)
}

/// Appends a command. Where it is not known whether it was done, the error says under which id to ask again.
pub(crate) async fn append(
    contexts: &Contexts,
    author: &Author,
    shard: Shard,
    body: &Body,
    options: Options,
) -> Result<Receipt> {
    let operation = options.operation.unwrap_or_else(Uuid::now_v7);
    let body = Json::from_serialize(body).map_err(not_json)?;
    let command = Command { operation, version: command::VERSION, author: author.clone(), body };
    let appended = contexts.inner.ledger.append(shard, command, options.deadline).await;
    appended.map_err(|error| match error.kind {
        ErrorKind::DeadlineExceeded if error.data.is_none() => {
            let data = json!({ "kind": error.kind_name(), "retry": "if_idempotent", "operation": operation });
            error.with_data(Json::from_trusted(data.to_string()))
        }
        _ => error,
    })
}

fn not_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidParams, format!("a value of the write is not JSON: {error}"))
}

/// Also what a later version of the program has said of an operation that is repeated here.
pub(crate) fn read<T: serde::de::DeserializeOwned>(outcome: Json) -> Result<T> {
    outcome.read().map_err(|error| {
        let text = "the outcome of the operation id is of another kind: each write needs an id of its own";
        Error::new(ErrorKind::Conflict, text).with_private(error)
    })
}
