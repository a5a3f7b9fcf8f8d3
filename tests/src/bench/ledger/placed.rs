//! A server that may run anywhere, when its node dies.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;
use uuid::Uuid;

use super::{Options, Table, table::Value};
use crate::cluster::{
    bus::StoreSync,
    door::Door,
    ground::Ground,
    journal::{Act, Outcome},
    world::{COUNTER, NODES, World, name_of},
};

/// Longest that the server may take to answer again.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn measure(options: &Options) -> Result<Table> {
    let title = format!(
        "Three nodes: kill -9 (SIGTERM) of the one that runs a server with placement = \"any\", until a call through another one is answered. \
         Median of {} rounds.",
        options.rounds
    );
    let mut table = Table::new(title, &["until answered"]);
    let mut world = World::start(&Ground::plain(StoreSync::Cached)).await?;
    let mut door = Door::new(world.endpoints())?;
    for (name, gently) in [("kill -9", false), ("SIGTERM", true)] {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            rounds.push(vec![Value::Time(fail_over(&mut world, &mut door, gently).await?)]);
        }
        table.add(name, &rounds);
    }
    Ok(table)
}

async fn fail_over(world: &mut World, door: &mut Door, gently: bool) -> Result<Duration> {
    answers(door, 0).await?;
    let place = format!("place.{COUNTER}.");
    let status = door.status(0).await?;
    let lease = status.leases.iter().find(|lease| lease.name.starts_with(&place));
    let holder = &lease.with_context(|| format!("nobody has {place}*: {:?}", status.leases))?.node;
    let holder = (0..NODES).find(|node| name_of(*node) == holder).context("the holder is no node")?;
    let begun = Instant::now();
    match gently {
        true => world.stop(holder).await?,
        false => world.kill(holder).await?,
    }
    answers(door, (holder + 1) % NODES).await?;
    let took = begun.elapsed();
    world.restart(holder).await?;
    world.wait_ready(holder).await?;
    Ok(took)
}

/// Calls until one is answered.
async fn answers(door: &mut Door, node: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let outcome = door.act(node, &Act::Call { mark: Uuid::new_v4().to_string() }, Uuid::new_v4()).await;
        if outcome == Outcome::Called {
            return Ok(());
        }
        ensure!(begun.elapsed() < TIMEOUT, "the server does not answer: {outcome:?}");
        sleep(PAUSE).await;
    }
}
