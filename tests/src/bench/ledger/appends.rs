//! Appends to one shard: on sled alone, and on JetStream with one replica and with three.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use spanwire_ledger::{Durability, JetStreamLedger, JetStreamOptions, LocalLedger, MemoryLeases, SledStore};
use spanwire_mcp::Json;
use spanwire_model::{
    Applied, Author, Book, Command, Entry, Ledger, Machine, NodeId, Shard, ShardState, StoreError, Tenant, ViewMut,
};
use spanwire_telemetry::Telemetry;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Options, Table, table::Value};
use crate::{
    cluster::{
        bus::{Bus, StoreSync},
        ground::Ground,
    },
    nats::NatsServer,
};

/// Bytes of the value in a command.
const VALUE_BYTES: usize = 256;
/// Keys that are written.
const KEYS: u64 = 10_000;
/// How many write at once.
const WRITERS: [usize; 3] = [1, 16, 64];
const SHARD: Shard = Shard { book: Book::Context, number: 0 };
/// Longest that one append may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest that a ledger may take until it follows its log.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a ledger keeps its log.
#[derive(Clone, Copy)]
enum Store {
    Sled(Durability),
    OneReplica,
    ThreeReplicas,
}

impl Store {
    const ALL: [Self; 4] =
        [Self::Sled(Durability::Disk), Self::Sled(Durability::Process), Self::OneReplica, Self::ThreeReplicas];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sled(Durability::Disk) => "sled, survives power loss",
            Self::Sled(Durability::Process) => "sled, survives kill -9",
            Self::OneReplica => "JetStream R1",
            Self::ThreeReplicas => "JetStream R3",
        }
    }
}

/// A ledger with what it stands on.
struct Fixture {
    ledger: Arc<dyn Ledger>,
    _folder: tempfile::TempDir,
    _one: Option<NatsServer>,
    _three: Option<Bus>,
}

pub(super) async fn measure(options: &Options) -> Result<Table> {
    let title = format!(
        "Appends of commands of {VALUE_BYTES} bytes to one shard, acknowledged when durable and applied here; median of {} rounds of \
         {:.1} s. The servers keep what they are given in the page cache, as is their default.",
        options.rounds,
        options.length.as_secs_f64()
    );
    let mut table = Table::new(title, &["appends", "p50", "p99"]);
    for store in Store::ALL {
        let fixture = start(store).await.with_context(|| store.as_str())?;
        for writers in WRITERS {
            let mut rounds = Vec::new();
            // Once to warm up.
            append(&fixture.ledger, writers, options.length / 4).await?;
            for _ in 0..options.rounds {
                rounds.push(append(&fixture.ledger, writers, options.length).await?);
            }
            table.add(format!("{}, {writers} writers", store.as_str()), &rounds);
        }
    }
    Ok(table)
}

async fn start(store: Store) -> Result<Fixture> {
    let folder = tempfile::tempdir()?;
    let node: NodeId = "bench".parse()?;
    let machines = || BTreeMap::from([(Book::Context, Arc::new(Keep) as Arc<dyn Machine>)]);
    let telemetry = Telemetry::disabled(node.clone());
    let durability = if let Store::Sled(durability) = store { durability } else { Durability::Process };
    let sled = SledStore::open_with(&folder.path().join("store"), durability)?;
    let (mut one, mut three) = (None, None);
    let urls = match store {
        Store::Sled(_) => {
            let ledger = Arc::new(LocalLedger::open(sled, machines(), telemetry).await?);
            return Ok(Fixture { ledger, _folder: folder, _one: None, _three: None });
        }
        Store::OneReplica => {
            let nats = folder.path().join("nats");
            let server = NatsServer::start_with(&["-js", "-sd", &nats.to_string_lossy()]).await?;
            vec![one.insert(server).url()]
        }
        Store::ThreeReplicas => {
            let bus = three.insert(Bus::start(&Ground::plain(StoreSync::Cached)).await?);
            bus.addresses().iter().map(|address| format!("nats://{address}")).collect()
        }
    };
    let config = spanwire_nats::Config::new(urls, Tenant::default(), node.clone());
    let connection = spanwire_nats::connect(&config).await?;
    let leases = Arc::new(MemoryLeases::new(node.clone()));
    let options = JetStreamOptions::new(Tenant::default(), config.prefix.clone(), node, folder.path().join("scratch"));
    let client = connection.client.clone();
    let ledger = JetStreamLedger::start(client, sled, &machines(), leases, telemetry, options).await?;
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    follows(&*ledger).await?;
    Ok(Fixture { ledger, _folder: folder, _one: one, _three: three })
}

async fn follows(ledger: &dyn Ledger) -> Result<()> {
    let begun = Instant::now();
    loop {
        let status = ledger.status();
        let shard = status.iter().find(|status| status.shard == SHARD).context("the shard is not there")?;
        if shard.state == ShardState::Following {
            return Ok(());
        }
        ensure!(begun.elapsed() < START_TIMEOUT, "the shard does not follow its log: {shard:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One round: how many in a second, and how long one took.
async fn append(ledger: &Arc<dyn Ledger>, writers: usize, length: Duration) -> Result<Vec<Value>> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let mut took = histogram()?;
            while begun.elapsed() < length {
                let sent = Instant::now();
                let deadline = tokio::time::Instant::now() + APPEND_TIMEOUT;
                let receipt = ledger.append(SHARD, command()?, deadline).await?;
                ensure!(receipt.outcome.is_ok(), "refused: {receipt:?}");
                took.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
            }
            anyhow::Ok(took)
        });
    }
    let mut took = histogram()?;
    while let Some(done) = tasks.join_next().await {
        took.add(done??)?;
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    let at = |quantile| Value::Time(Duration::from_micros(took.value_at_quantile(quantile)));
    Ok(vec![Value::Rate(rate), at(0.5), at(0.99)])
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn command() -> Result<Command> {
    let author = Author { principal: "bench".into(), node: "bench".parse()?, call: None, trace: None };
    let body = Json::from_serialize(&"x".repeat(VALUE_BYTES))?;
    Ok(Command { operation: Uuid::new_v4(), version: 1, author, body })
}

/// Keeps the last value of each of some keys.
struct Keep;

impl Machine for Keep {
    fn version(&self) -> u16 {
        1
    }

    fn apply(&self, view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError> {
        let key = (entry.sequence % KEYS).to_be_bytes().to_vec();
        view.put(key, entry.command.body.as_bytes().to_vec());
        Ok(Ok(Json::from_trusted("null")))
    }
}
