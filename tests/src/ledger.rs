//! The registry of one node alone, in a folder of its own.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use spanwire_ledger::{Durability, LocalLedger, SledStore};
use spanwire_model::{Book, Ledger, Machine};
use spanwire_telemetry::Telemetry;

/// Opens the ledger in a folder, with the book of the registry.
pub async fn registry(folder: &Path) -> anyhow::Result<Arc<dyn Ledger>> {
    let store = SledStore::open_with(folder, Durability::Process)?;
    let machine: Arc<dyn Machine> = Arc::new(spanwire_registry::Machine);
    let machines = BTreeMap::from([(Book::Registry, machine)]);
    let ledger = LocalLedger::open(store, machines, Telemetry::disabled("registry".parse()?)).await?;
    Ok(Arc::new(ledger))
}
