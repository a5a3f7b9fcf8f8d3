//! The outcomes of recent operations, kept in the view, so that whoever asks again is told the same.

use serde::{Deserialize, Serialize};
use spanwire_mcp::Json;
use spanwire_model::{Applied, Receipt, Refusal, StoreError};
use uuid::Uuid;

use crate::{cells::Cells, view::Changes};

/// The class of keys `o{operation}`, with the outcomes.
const OUTCOMES: u8 = b'o';
/// The class of keys `q{sequence}`, with the operation of that entry: for forgetting them in order.
const ORDER: u8 = b'q';

#[derive(Serialize, Deserialize)]
struct Record {
    sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
}

pub(crate) fn key(operation: Uuid) -> Vec<u8> {
    [&[OUTCOMES], operation.as_bytes().as_slice()].concat()
}

fn order_key(sequence: u64) -> Vec<u8> {
    [&[ORDER], sequence.to_be_bytes().as_slice()].concat()
}

/// Adds an outcome.
pub(crate) fn remember(operation: Uuid, receipt: &Receipt, changes: &mut Changes) -> Result<(), StoreError> {
    let (ok, refused) = match &receipt.outcome {
        Ok(answer) => (Some(answer.clone()), None),
        Err(refusal) => (None, Some(refusal.clone())),
    };
    let record = Record { sequence: receipt.sequence, ok, refused };
    changes.insert(key(operation), Some(serde_json::to_vec(&record).map_err(unreadable)?));
    changes.insert(order_key(receipt.sequence), Some(operation.as_bytes().to_vec()));
    Ok(())
}

/// Forgets the operation of an entry.
pub(crate) fn forget(sequence: u64, cells: &Cells, changes: &mut Changes) -> Result<(), StoreError> {
    let order = order_key(sequence);
    let Some(operation) = cells.get(&order)? else { return Ok(()) };
    let operation = Uuid::from_slice(&operation).map_err(unreadable)?;
    changes.insert(key(operation), None);
    changes.insert(order, None);
    Ok(())
}

/// Reads an outcome.
pub(crate) fn receipt(record: &[u8]) -> Result<Receipt, StoreError> {
    let record: Record = serde_json::from_slice(record).map_err(unreadable)?;
    let outcome: Applied = match record.refused {
        Some(refusal) => Err(refusal),
        None => Ok(record.ok.unwrap_or_else(|| Json::from_trusted("null"))),
    };
    Ok(Receipt { sequence: record.sequence, outcome })
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Io { path: "outcomes of operations".to_owned(), source: error.into() }
}
