//! From a wish to a receipt.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;
use spanwire_mcp::Json;
use spanwire_model::{
    Author, Command, Error, ErrorKind, MAX_COMMAND_BYTES, Receipt, Refusal, RefusalReason, Result, Shard,
};
use spanwire_telemetry::{Span, SpanKind, error_type, names};
use uuid::Uuid;

use crate::{
    Changed, Contexts, Operation, Options, SpaceName, Transaction, Written,
    command::{self, Body, Dropped, Outcome, SPACES},
};

/// What a write that was done is counted as.
const DONE: &str = "done";

/// Changes a space.
pub(crate) async fn write(
    contexts: &Contexts,
    author: &Author,
    space: &SpaceName,
    transaction: Transaction,
    options: Options,
) -> Result<Written> {
    let operations: Vec<_> = transaction.operations.iter().map(name_of).collect();
    let conditions = transaction.conditions.iter().map(|condition| &condition.key);
    let keys: BTreeSet<_> = transaction.operations.iter().map(Operation::key).chain(conditions).collect();
    let (span, author) = begin(contexts, author, space, keys.len());
    let written = write_once(contexts, &author, space, transaction, options).await;
    end(contexts, span, &operations, written.as_ref().map(|written| written.sequence));
    written
}

async fn write_once(
    contexts: &Contexts,
    author: &Author,
    space: &SpaceName,
    transaction: Transaction,
    options: Options,
) -> Result<Written> {
    let of = command::digest(space, &transaction).map_err(not_json)?;
    let keys: Vec<_> = transaction.operations.iter().map(|operation| operation.key().clone()).collect();
    let body = Body::Write { space: space.clone(), transaction, quotas: *contexts.quotas() };
    // One id for both attempts: who repeats it repeats both, and each is done once, as long as the ledger knows it. The refusal of the
    // first is the older entry, and forgotten sooner, by as many entries as came between the two: a repetition that comes just then
    // finds the first attempt unknown and room for it. A ledger has no way to ask for the second alone.
    let options = Options { operation: Some(options.operation.unwrap_or_else(Uuid::now_v7)), ..options };
    let shard = Contexts::shard_of(space);
    let mut receipt = append(contexts, author, shard, command::VERSION, &body, options).await?;
    if receipt.outcome.as_ref().is_err_and(is_full) {
        receipt = append(contexts, author, shard, command::MAKES_ROOM, &body, options).await?;
    }
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
    let (span, author) = begin(contexts, author, space, 0);
    let body = Body::Drop { space: space.clone() };
    let dropped = async {
        let receipt = append(contexts, &author, Contexts::shard_of(space), command::VERSION, &body, options).await?;
        let outcome: Dropped = read(receipt.outcome.map_err(Error::from)?)?;
        Ok((receipt.sequence, outcome.keys))
    };
    let dropped: Result<(u64, Option<u64>)> = dropped.await;
    end(contexts, span, &["drop"], dropped.as_ref().map(|(sequence, _)| *sequence));
    dropped.map(|(_, keys)| keys)
}

/// The span of a write; the author from then on is whoever wrote in this span.
fn begin(contexts: &Contexts, author: &Author, space: &SpaceName, keys: usize) -> (Span, Author) {
    let tracer = contexts.inner.telemetry.tracer();
    let mut span = tracer.start(SpanKind::Internal, names::SPAN_CONTEXT_WRITE, author.trace.as_ref());
    span.set_text(names::SPANWIRE_CONTEXT_SPACE, space.as_str());
    span.set(names::SPANWIRE_CONTEXT_KEYS, keys);
    span.set_text(names::SPANWIRE_PRINCIPAL, &author.principal);
    let author = Author { trace: Some(span.context()), ..author.clone() };
    (span, author)
}

fn end(contexts: &Contexts, mut span: Span, operations: &[&'static str], done: Result<u64, &Error>) {
    let outcome = done.as_ref().map_or_else(|error| error_type(error), |_| DONE.into());
    for operation in operations {
        contexts.inner.telemetry.metrics().context_operation(operation, &outcome);
    }
    span.set_text(names::SPANWIRE_LEDGER_OUTCOME, &outcome);
    match done {
        Ok(sequence) => span.set(names::SPANWIRE_LEDGER_SEQUENCE, sequence),
        Err(error) => span.fail(error),
    }
    span.end();
}

fn name_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Put { .. } => "put",
        Operation::PatchMerge { .. } | Operation::PatchJson { .. } => "patch",
        Operation::Delete { .. } => "delete",
        Operation::Append { .. } => "append",
    }
}

/// Appends a command. Where it is not known whether it was done, the error says under which id to ask again.
pub(crate) async fn append(
    contexts: &Contexts,
    author: &Author,
    shard: Shard,
    version: u16,
    body: &Body,
    options: Options,
) -> Result<Receipt> {
    let operation = options.operation.unwrap_or_else(Uuid::now_v7);
    let known_as = command::operation_id(operation, &author.principal, version, body).map_err(not_json)?;
    let body = Json::from_serialize(body).map_err(not_json)?;
    let command = Command { operation: known_as, version, author: author.clone(), body };
    let appended = contexts.inner.ledger.append(shard, command, options.deadline).await;
    appended.map_err(|error| match error.kind {
        ErrorKind::DeadlineExceeded if error.data.is_none() => {
            let data = json!({ "kind": error.kind_name(), "retry": "if_idempotent", "operation": operation });
            error.with_data(Json::from_trusted(data.to_string()))
        }
        ErrorKind::TooLarge => {
            let text = format!(
                "the write is too large: with all of its keys and values it may have {MAX_COMMAND_BYTES} bytes"
            );
            Error { public: text.into(), ..error }
        }
        _ => error,
    })
}

/// True when the shard has as many spaces as it may have.
fn is_full(refusal: &Refusal) -> bool {
    #[derive(Deserialize)]
    struct Told {
        quota: String,
    }
    let told = refusal.data.as_ref().and_then(|data| data.read::<Told>().ok());
    refusal.reason == RefusalReason::Quota && told.is_some_and(|told| told.quota == SPACES)
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
