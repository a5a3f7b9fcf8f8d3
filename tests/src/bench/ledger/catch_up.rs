//! A node that follows many commands, and one that was away while they came.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Options, Table, table::Value};
use crate::{
    bench::meter::Usage,
    cluster::{
        check::agreed,
        door::Door,
        journal::{Act, Outcome},
        world::Endpoints,
    },
    nats::NatsServer,
    node::Node,
};

/// Spaces that are written, in several shards.
const SPACES: u64 = 8;
/// Keys of each.
const KEYS: u64 = 1_000;
/// Who writes at once.
const WRITERS: usize = 32;
/// Commands that a node catches up with: fewer than a shard takes between two snapshots, so that each is read and applied.
const MISSED: u64 = 16_000;
/// Longest that a node may take to have everything.
const TIMEOUT: Duration = Duration::from_secs(300);

pub(super) async fn measure(options: &Options) -> Result<Table> {
    let title = format!(
        "Two nodes on JetStream R1. One that was away while {MISSED} commands came, from when it listens until it has them all, median of \
         {} rounds; and one that follows {} commands as they come (the issue asks for 1000000: --commands).",
        options.rounds, options.commands
    );
    let mut table = Table::new(title, &["commands", "memory", "before"]);
    let folder = tempfile::tempdir()?;
    let store = folder.path().to_string_lossy().into_owned();
    let nats = NatsServer::start_with(&["-js", "-sd", &store]).await?;
    let config = format!("[nats]\nurl = \"{}\"\n", nats.url());
    let writer = Node::start_as("writer", &config).await?;
    let mut reader = Node::start_as("reader", &config).await?;
    agree(&writer, &reader).await?;
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        reader.stop().await?;
        let before = resident(&writer)?;
        write(&writer, MISSED).await?;
        reader.restart().await?;
        let begun = Instant::now();
        agree(&writer, &reader).await?;
        let rate = MISSED as f64 / begun.elapsed().as_secs_f64();
        rounds.push(vec![Value::Rate(rate), resident(&reader)?, before]);
    }
    table.add(format!("catches up with {MISSED}"), &rounds);

    let before = resident(&reader)?;
    let begun = Instant::now();
    write(&writer, options.commands).await?;
    agree(&writer, &reader).await?;
    let rate = Value::Rate(options.commands as f64 / begun.elapsed().as_secs_f64());
    table.add(format!("follows {}", options.commands), &[vec![rate, resident(&reader)?, before]]);
    Ok(table)
}

fn resident(node: &Node) -> Result<Value> {
    Ok(Value::Size(Usage::of(node.pid())?.resident_kib as f64 / 1024.0))
}

/// Writes so many commands through a node.
async fn write(node: &Node, count: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let endpoints = Endpoints::of_nodes([node])?;
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        let (next, mut door) = (next.clone(), Door::new(endpoints.clone())?);
        tasks.spawn(async move {
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= count {
                    return anyhow::Ok(());
                }
                let key = format!("bench-{}/{}", item % SPACES, item / SPACES % KEYS);
                match door.act(0, &Act::Put { key, item }, Uuid::new_v4()).await {
                    Outcome::Written(_) => {}
                    other => bail!("a put ended as {other:?}"),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until both have applied the same.
async fn agree(one: &Node, other: &Node) -> Result<()> {
    let begun = Instant::now();
    let mut door = Door::new(Endpoints::of_nodes([one, other])?)?;
    loop {
        let nodes = [door.status(0).await?, door.status(1).await?];
        let Some(missing) = agreed::missing(&nodes) else { return Ok(()) };
        ensure!(begun.elapsed() < TIMEOUT, "the nodes do not agree: {missing}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
