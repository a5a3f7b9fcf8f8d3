//! A process that does nothing but write to the ledger of a node alone, until it is killed; and what a test then finds in its folder.

use std::{collections::BTreeMap, io::Write as _, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use spanwire_ledger::{Durability, LocalLedger, SledStore};
use spanwire_mcp::Json;
use spanwire_model::{
    Applied, Author, Book, Command, Entry, Ledger, Machine, NodeId, Refusal, RefusalReason, Shard, ShardState, Store,
    StoreError, View, ViewMut, Write,
};
use spanwire_telemetry::Telemetry;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// Writers of one process, each with one write on its way.
pub const WRITERS: u32 = 16;

/// Longest that opening, or one write, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every so manieth value is as long as this, and is cut into pieces.
const LARGE: (u64, usize) = (60, 70_000);

/// Keys that are read at a time.
const PAGE: usize = 500;

/// A write of one writer: its count goes up by one.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    writer: u32,
    count: u64,
    padding: usize,
}

/// Keeps `n/{writer}`, the writer's count, and `w/{writer}/{count}`, the entry that wrote it. Refuses what is not the next count.
struct Counting;

impl Machine for Counting {
    fn version(&self) -> u16 {
        1
    }

    fn apply(&self, view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError> {
        let refuse = |text: String| Ok(Err(Refusal { reason: RefusalReason::Conflict, text, data: None }));
        let Ok(Body { writer, count, padding }) = entry.command.body.read() else {
            return refuse("not a body".to_owned());
        };
        let last = format!("n/{writer}");
        let there = view.get(last.as_bytes())?.and_then(|text| number(&text)).unwrap_or(0);
        if there + 1 != count {
            return refuse(format!("{count} does not follow {there}"));
        }
        view.put(last.into_bytes(), count.to_string().into_bytes());
        let value = format!("{}{}", entry.sequence, " ".repeat(padding));
        view.put(format!("w/{writer}/{count}").into_bytes(), value.into_bytes());
        Ok(Ok(Json::from_trusted(count.to_string())))
    }
}

/// Opens the ledger in a folder, as soon as whoever had it has let go. Its shards are in order, or this fails.
///
/// # Errors
/// When it cannot be opened in time, or does not hold what its log says.
pub async fn open(folder: &Path, durability: Durability) -> Result<(LocalLedger, SledStore)> {
    let deadline = Instant::now() + PATIENCE;
    let store = loop {
        match SledStore::open_with(folder, durability) {
            Ok(store) => break store,
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(2)).await,
        }
    };
    let machine: Arc<dyn Machine> = Arc::new(Counting);
    let machines = BTreeMap::from([(Book::Registry, machine)]);
    let ledger = LocalLedger::open(store.clone(), machines, Telemetry::disabled(node()?)).await?;
    for status in ledger.status() {
        ensure!(status.state == ShardState::Following, "{status:?}");
    }
    Ok((ledger, store))
}

/// Writes until it is killed. Each line of stdout is `writer count sequence` of a write that was acknowledged.
///
/// # Errors
/// When anything fails, or is not as it must be.
pub async fn run(folder: &Path, durability: Durability) -> Result<()> {
    let (ledger, store) = open(folder, durability).await?;
    let found = found(&ledger)?;
    let ledger = Arc::new(ledger);
    let writers = (0..WRITERS).map(|writer| {
        let (ledger, store) = (ledger.clone(), store.clone());
        let last = found.counts.get(&writer).copied().unwrap_or(0);
        tokio::spawn(async move {
            for count in last + 1.. {
                let sequence = write(&*ledger, writer, count).await?;
                if writer == 0 {
                    // The node's own state shares the files and the flush.
                    let own = Write::Put { key: own_key(count), value: sequence.to_string().into_bytes() };
                    store.apply(vec![own]).await?;
                }
                // One call of write, so that lines are whole.
                std::io::stdout().write_all(format!("{writer} {count} {sequence}\n").as_bytes())?;
            }
            anyhow::Ok(())
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer??;
    }
    bail!("the writers came to an end")
}

/// The write of a writer with this count, once more or for the first time; returns its entry.
///
/// # Errors
/// When it is refused or fails.
pub async fn write(ledger: &dyn Ledger, writer: u32, count: u64) -> Result<u64> {
    let padding = if count % LARGE.0 == u64::from(writer) { LARGE.1 } else { 0 };
    let command = Command {
        operation: Uuid::from_u128(u128::from(writer) << 64 | u128::from(count)),
        version: 1,
        author: Author { principal: "writer".into(), node: node()?, call: None, trace: None },
        body: Json::from_serialize(&Body { writer, count, padding })?,
    };
    let receipt = ledger.append(Shard::REGISTRY, command, Instant::now() + PATIENCE).await?;
    match receipt.outcome {
        Ok(_) => Ok(receipt.sequence),
        Err(refusal) => bail!("write {count} of writer {writer}: {}", refusal.text),
    }
}

/// What a ledger holds.
#[derive(Debug, Default)]
pub struct Found {
    /// The last entry that was applied.
    pub applied: u64,
    /// The count of each writer.
    pub counts: BTreeMap<u32, u64>,
    /// The entry of each write, by writer and count.
    pub writes: BTreeMap<(u32, u64), u64>,
}

/// Reads all of it.
///
/// # Errors
/// When it cannot be read, or is not what [`run`] writes.
pub fn found(ledger: &LocalLedger) -> Result<Found> {
    let mut found = Found::default();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let mut page = Vec::new();
        let mut read = |view: &dyn View, sequence| {
            found.applied = sequence;
            let pairs = view.scan(b"", after.as_deref(), PAGE);
            page = pairs
                .map_err(|error| spanwire_model::Error::new(spanwire_model::ErrorKind::Internal, error.to_string()))?;
            Ok(())
        };
        ledger.read(Shard::REGISTRY, &mut read)?;
        for (key, value) in &page {
            let key = std::str::from_utf8(key)?;
            let value = number(value).with_context(|| format!("the value of {key}"))?;
            match key.split('/').collect::<Vec<_>>()[..] {
                ["n", writer] => drop(found.counts.insert(writer.parse()?, value)),
                ["w", writer, count] => drop(found.writes.insert((writer.parse()?, count.parse()?), value)),
                _ => bail!("key {key}"),
            }
        }
        match page.pop() {
            Some((last, _)) => after = Some(last),
            None => return Ok(found),
        }
    }
}

/// What the node's own state has for a write of writer 0.
pub fn own_key(count: u64) -> Vec<u8> {
    format!("own/{count}").into_bytes()
}

fn node() -> Result<NodeId> {
    Ok("writer".parse()?)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_end().parse().ok()
}
