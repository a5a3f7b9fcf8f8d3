//! The shared context as a client sees it: how long a write takes, and until a watcher has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Options, Table,
    table::{Round, Value},
};
use crate::{
    cluster::{
        bus::StoreSync,
        door::Door,
        ground::Ground,
        journal::{Act, Outcome},
        world::{Endpoints, World},
    },
    node::Node,
};

/// The space that is written.
const SPACE: &str = "bench";
/// Keys that are written.
const KEYS: u64 = 1_000;
/// Longest that a new cluster may take until it takes writes, and the pause between two tries.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(20);
/// Longest that a watcher may take to see a write.
const SEEN_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) async fn measure(options: &Options) -> Result<Table> {
    let title = format!(
        "Shared context over gRPC, one client that writes one small value after the other; a watcher has it from when it was sent. \
         Median of {} rounds of {:.1} s.",
        options.rounds,
        options.length.as_secs_f64()
    );
    let mut table = Table::new(title, &["put p50", "put p99", "watch p50", "watch p99"]);
    {
        let node = Node::start("").await?;
        let mut door = Door::new(Endpoints::of_nodes([&node])?)?;
        table.add("one node, sled", &rounds(&mut door, 0, options).await?);
    }
    let world = World::start(&Ground::plain(StoreSync::Cached)).await?;
    let mut door = Door::new(world.endpoints())?;
    table.add("three nodes, JetStream R3, same node", &rounds(&mut door, 0, options).await?);
    table.add("the same, watched at another node", &rounds(&mut door, 1, options).await?);
    Ok(table)
}

async fn rounds(door: &mut Door, watched_at: usize, options: &Options) -> Result<Vec<Round>> {
    accepts(door).await?;
    // Once to warm up.
    round(door, watched_at, options.length / 4).await?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        rounds.push(round(door, watched_at, options.length).await?);
    }
    Ok(rounds)
}

/// Waits until the log takes writes: its servers elect leaders first.
async fn accepts(door: &mut Door) -> Result<()> {
    let begun = Instant::now();
    loop {
        let act = Act::Put { key: format!("{SPACE}/first"), item: 0 };
        let outcome = door.act(0, &act, Uuid::new_v4()).await;
        if matches!(outcome, Outcome::Written(_)) {
            return Ok(());
        }
        ensure!(begun.elapsed() < START_TIMEOUT, "the context takes no writes: {outcome:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Writes go to the first node.
async fn round(door: &mut Door, watched_at: usize, length: Duration) -> Result<Round> {
    let begun = Instant::now();
    let (mut put, mut seen) = (histogram()?, histogram()?);
    // From now on: what is written before the watch runs is not waited for.
    let mut events = None;
    let mut item = 0;
    while begun.elapsed() < length || events.is_none() {
        item += 1;
        let act = Act::Put { key: format!("{SPACE}/{}", item % KEYS), item };
        let sent = Instant::now();
        let version = match door.act(0, &act, Uuid::new_v4()).await {
            Outcome::Written(version) => version,
            other => bail!("a put ended as {other:?}"),
        };
        let acknowledged = sent.elapsed();
        let Some(stream) = &mut events else {
            events = Some(door.watch(watched_at, SPACE, version + 1).await?);
            continue;
        };
        let event = timeout(SEEN_TIMEOUT, stream.message()).await.context("a write was not seen")??;
        let event = event.context("the watch ended")?;
        ensure!(event.sequence == version, "saw {} instead of {version}", event.sequence);
        put.saturating_record(u64::try_from(acknowledged.as_micros())?);
        seen.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
    }
    let at = |took: &Histogram<u64>, quantile| Value::Time(Duration::from_micros(took.value_at_quantile(quantile)));
    Ok(vec![at(&put, 0.5), at(&put, 0.99), at(&seen, 0.5), at(&seen, 0.99)])
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}
