//! A node that starts on much that it has kept.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use uuid::Uuid;

use super::{Options, Table, table::Value};
use crate::{
    bench::meter::Usage,
    cluster::{
        door::Door,
        journal::{Act, Level, Outcome},
        world::Endpoints,
    },
    node::{Node, http_client},
};

/// Numbers in one value: about 200 KiB as JSON.
const NUMBERS: u64 = 10_000;
/// What a space may hold stays below its default quota of 64 MiB.
const VALUES_PER_SPACE: u64 = 250;
/// Longest that a node may take to be ready.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) async fn measure(options: &Options) -> Result<Table> {
    let folder_of = |node: &Node| size(&node.data());
    let mut node = Node::start("").await?;
    let empty = start(&mut node, options.rounds, None).await?;
    let wanted = options.store_mib * 1024 * 1024;
    let mut written = 0;
    // What is kept grows by the log and the view, and by what sled has not yet cleaned up.
    while written % 16 != 0 || folder_of(&node)? < wanted {
        fill(&node, written).await?;
        written += 1;
    }
    let mib = folder_of(&node)? as f64 / (1024.0 * 1024.0);
    let last = format!("fill-{}/{}", (written - 1) / VALUES_PER_SPACE, written - 1);
    let full = start(&mut node, options.rounds, Some(&last)).await?;
    let title = format!(
        "One node on sled, from its start until it is ready and reads its last key; median of {} rounds. {written} values of about 200 KiB \
         make a store of {mib:.0} MiB (the issue asks for 1024: --store-mib).",
        options.rounds
    );
    let mut table = Table::new(title, &["until ready", "until read", "memory"]);
    table.add("empty store", &empty);
    table.add(format!("store of {mib:.0} MiB"), &full);
    Ok(table)
}

async fn start(node: &mut Node, rounds: usize, key: Option<&str>) -> Result<Vec<Vec<Value>>> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        node.stop().await?;
        let begun = Instant::now();
        node.restart().await?;
        while !http_client().get(node.url("/readyz")).send().await?.status().is_success() {
            ensure!(begun.elapsed() < TIMEOUT, "the node is not ready after {TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let ready = begun.elapsed();
        if let Some(key) = key {
            let mut door = Door::new(Endpoints::of_nodes([&*node])?)?;
            let read = Act::Read { key: key.to_owned(), level: Level::Linearizable };
            match door.act(0, &read, Uuid::new_v4()).await {
                Outcome::Read(state) if state.version > 0 => {}
                other => bail!("the last key was read as {other:?}"),
            }
        }
        let memory = Usage::of(node.pid())?.resident_kib as f64 / 1024.0;
        all.push(vec![Value::Time(ready), Value::Time(begun.elapsed()), Value::Size(memory)]);
    }
    Ok(all)
}

/// Writes one large value.
async fn fill(node: &Node, number: u64) -> Result<()> {
    let mut door = Door::new(Endpoints::of_nodes([node])?)?;
    let key = format!("fill-{}/{number}", number / VALUES_PER_SPACE);
    // Digits that differ from value to value: nothing that could be kept once.
    let first = 1_000_000_000_000_000_000 + number * NUMBERS;
    match door.put_many(0, &key, first..first + NUMBERS).await {
        Outcome::Written(_) => Ok(()),
        other => bail!("a put ended as {other:?}"),
    }
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { size(&entry.path())? } else { facts.len() };
    }
    Ok(bytes)
}
