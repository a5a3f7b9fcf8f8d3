//! Runs features in all their cells, prints the table, and holds the outcome against what is waited for.

use std::{
    collections::BTreeMap, fmt::Write as _, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc,
    time::Duration,
};

use anyhow::{Result, anyhow};
use futures::FutureExt;
use tokio::{task::JoinSet, time::timeout};

use super::{cell::Cell, rig::Rig, waiting::waits_for, world::World};

/// Longest that one run may take.
const RUN_TIMEOUT: Duration = Duration::from_secs(20);
/// Failures that are told in full.
const TOLD: usize = 12;

type Run = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Something that must work in the cells where it can exist.
#[derive(Clone, Copy)]
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) run: fn(Arc<World>) -> Run,
    /// Where it can exist, or be refused as documented.
    pub(super) cells: fn(&Cell) -> bool,
    /// Where what it does to the server would disturb others, or others it.
    pub(super) alone: fn(&Cell) -> bool,
}

/// `feature_of!(name)` runs `async fn name(world: &World) -> Result<()>` in every cell; then come `cells` and `alone`.
macro_rules! feature_of {
    ($name:ident) => {
        feature_of!($name, |_| true, |_| false)
    };
    ($name:ident, $cells:expr) => {
        feature_of!($name, $cells, |_| false)
    };
    ($name:ident, $cells:expr, $alone:expr) => {
        $crate::matrix::runner::Feature {
            name: stringify!($name),
            run: |world| Box::pin(async move { Box::pin($name(&world)).await }),
            cells: $cells,
            alone: $alone,
        }
    };
}
pub(super) use feature_of;

/// What became of a feature in a cell.
struct Outcome {
    feature: &'static str,
    cell: Cell,
    failure: Option<String>,
}

/// Runs features in their cells; panics with everything that is not as it must be.
pub(super) async fn run(features: &[Feature]) {
    let rig = Arc::new(Rig::start().await);
    let mut running = JoinSet::new();
    for feature in features {
        for cell in Cell::all().into_iter().filter(|cell| (feature.cells)(cell)) {
            let (rig, feature) = (rig.clone(), *feature);
            running.spawn(async move {
                let failure = in_cell(&rig, feature, cell).await.err().map(|error| format!("{error:#}"));
                Outcome { feature: feature.name, cell, failure }
            });
        }
    }
    let outcomes = running.join_all().await;
    // Before a panic, which would show the logs of the nodes: what failed is said below.
    drop(rig);
    println!("{}", table(&outcomes));
    let verdict = verdict(&outcomes);
    assert!(verdict.is_empty(), "{verdict}");
}

/// Two clients of different principals, at once unless the feature must be alone.
async fn in_cell(rig: &Arc<Rig>, feature: Feature, cell: Cell) -> Result<()> {
    let turns = &rig.turns[&cell.server.id()];
    if (feature.alone)(&cell) {
        let _alone = turns.write().await;
        let _place = rig.places.acquire().await?;
        once(rig, feature, cell, "ann").await?;
        return once(rig, feature, cell, "bob").await;
    }
    let _among_others = turns.read().await;
    let _place = rig.places.acquire().await?;
    let (ann, bob) = tokio::join!(once(rig, feature, cell, "ann"), once(rig, feature, cell, "bob"));
    ann.and(bob)
}

async fn once(rig: &Arc<Rig>, feature: Feature, cell: Cell, who: &'static str) -> Result<()> {
    let run = async {
        let world = Arc::new(World::begin(rig, cell, who).await?);
        (feature.run)(world.clone()).await?;
        Arc::into_inner(world).ok_or_else(|| anyhow!("the run is still in use"))?.finish()
    };
    match timeout(RUN_TIMEOUT, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(anyhow!("it panicked")),
        Err(_) => Err(anyhow!("not done within {RUN_TIMEOUT:?}")),
    }
}

/// The signs of a feature by column, each with its cell.
type Row = BTreeMap<String, Vec<(String, char)>>;

/// Features by pair of eras: `.` passed, `F` failed, `w` waits for a branch, one sign a cell.
fn table(outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for outcome in outcomes {
        let sign = match (&outcome.failure, waits_for(outcome.feature, &outcome.cell)) {
            (None, None) => '.',
            (Some(_), Some(_)) => 'w',
            (None, Some(_)) => 'P',
            (Some(_), None) => 'F',
        };
        let columns = rows.entry(outcome.feature).or_default();
        columns.entry(outcome.cell.column()).or_default().push((outcome.cell.to_string(), sign));
    }
    let columns = ["modern -> modern", "modern -> legacy", "legacy -> modern", "legacy -> legacy"];
    let mut text = format!("{:30}", "");
    for column in columns {
        let _ = write!(text, "{column:22}");
    }
    for (feature, cells) in &mut rows {
        let _ = write!(text, "\n{feature:30}");
        for column in columns {
            let mut signs = cells.remove(column).unwrap_or_default();
            signs.sort();
            let signs: String = signs.into_iter().map(|(_, sign)| sign).collect();
            let _ = write!(text, "{signs:22}");
        }
    }
    text + "\n. passed, F failed, w waits for a branch, P passed and should not wait any more"
}

fn verdict(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let mut told = 0;
    for outcome in outcomes {
        let Outcome { feature, cell, failure } = outcome;
        let _ = match (failure, waits_for(feature, cell)) {
            (Some(failure), None) if told < TOLD => {
                told += 1;
                writeln!(text, "{feature}: {cell}\n    {failure}")
            }
            (Some(_), None) => writeln!(text, "{feature}: {cell}: failed"),
            (None, Some(branch)) => {
                writeln!(text, "{feature}: {cell}: passes; remove it from waiting.rs (it waited for {branch})")
            }
            (None, None) | (Some(_), Some(_)) => Ok(()),
        };
    }
    text
}
