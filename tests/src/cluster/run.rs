//! One run: a cluster under load, one fault after the other, and in the end everything checked.

use std::{env, path::PathBuf, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    bus::StoreSync,
    check::{self, Findings, agreed},
    door::Door,
    fault::{Fault, Kind, Schedule},
    ground::Ground,
    held::Held,
    inject::{heal, inject},
    journal::{Act, Journal, Outcome},
    keep,
    load::{Load, SPACES},
    net::Net,
    random::Random,
    report::{Report, Window},
    watcher,
    world::{NODES, World},
};

/// Operations of each kind that must have gone well before the first fault.
const WARM_UP: usize = 40;
/// Longest that anything may take that the verdict does not depend on.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest that the nodes may take to agree once every process is there and ready, and nothing is written any more: what is promised.
const AGREE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often something is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How the lines of a cluster are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// By network namespaces where they are allowed, otherwise by proxies.
    Any,
    /// By proxies.
    Proxies,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Makes the schedule and the load.
    pub seed: u64,
    /// How long faults are injected; `None` is each kind once.
    pub length: Option<Duration>,
    /// Which faults; `None` is all that can be had.
    pub kinds: Option<Vec<Kind>>,
    /// How they are connected.
    pub lines: Lines,
    /// Longest that the nodes may take to agree after a fault is undone, which is before the NATS servers have elected whom they need. On
    /// a machine with nothing else to do that is 15 s as well.
    pub agree_within: Duration,
    /// How the NATS servers keep what they are given.
    pub sync: StoreSync,
    /// The folder in which failures and logs are left.
    pub keep: Option<PathBuf>,
}

impl Options {
    /// What the environment asks for: `SPANWIRE_FAULTS_SEED`, `SPANWIRE_FAULTS_MINUTES`, `SPANWIRE_FAULTS_KINDS` (names separated by
    /// commas), `SPANWIRE_FAULTS_AGREE_SECONDS`, `SPANWIRE_FAULTS_SYNC` (`always`), `SPANWIRE_FAULTS_LINES` (`proxies`),
    /// `SPANWIRE_FAULTS_KEEP` (a folder). Without any: each kind once, from a fixed seed.
    ///
    /// # Errors
    /// A variable that makes no sense.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| env::var(format!("SPANWIRE_FAULTS_{name}")).ok().filter(|text| !text.is_empty());
        let number = |name: &str| {
            let number = variable(name).map(|text| text.parse::<f64>().with_context(|| format!("{name} is {text}")));
            number.transpose()
        };
        let kinds = match variable("KINDS") {
            None => None,
            Some(names) => {
                let kind = |name: &str| Kind::named(name).with_context(|| format!("there is no fault {name:?}"));
                Some(names.split(',').map(kind).collect::<Result<_>>()?)
            }
        };
        let seed = variable("SEED").map(|text| text.parse().with_context(|| format!("SEED is {text}"))).transpose()?;
        let seconds = |number: f64| Duration::try_from_secs_f64(number).context("no length of time");
        Ok(Self {
            seed: seed.unwrap_or(1),
            length: number("MINUTES")?.map(|minutes| seconds(minutes * 60.0)).transpose()?,
            kinds,
            lines: match variable("LINES").as_deref() {
                None => Lines::Any,
                Some("proxies") => Lines::Proxies,
                Some(other) => bail!("LINES is {other}: only proxies is known"),
            },
            agree_within: number("AGREE_SECONDS")?.map_or(Ok(Duration::from_secs(60)), seconds)?,
            keep: variable("KEEP").map(PathBuf::from),
            sync: match variable("SYNC").as_deref() {
                None => StoreSync::Cached,
                Some("always") => StoreSync::Always,
                Some(other) => bail!("SYNC is {other}: only always is known"),
            },
        })
    }
}

/// Runs, and tells what happened. Lines about the progress go to stderr.
///
/// # Errors
/// Something did not come back, so that nothing could be checked.
pub async fn run(options: &Options) -> Result<Report> {
    let mut random = Random::new(options.seed);
    let ground = match options.lines {
        Lines::Any => Ground::here(options.sync)?,
        Lines::Proxies => Ground { net: Net::Proxies, ..Ground::here(options.sync)? },
    };
    let kinds = options.kinds.clone().unwrap_or_else(|| Kind::usual(ground.slow_disks));
    let needs_slow_disks = |kind: &Kind| matches!(kind, Kind::SlowDiskServer | Kind::SlowDiskNode);
    ensure!(ground.slow_disks || !kinds.iter().any(needs_slow_disks), "the kernel allows no slow disks here");
    say(&format!("seed {}: starting three NATS servers and three nodes; {ground}", options.seed));
    let mut run = Run::start(options, &ground, &mut random).await?;
    let end = options.length.map(|length| Instant::now() + length);
    let faults = Schedule::new(random.fork(), &kinds);
    let count = if end.is_some() { usize::MAX } else { kinds.len() };
    for fault in faults.take(count) {
        if end.is_some_and(|end| Instant::now() > end) {
            break;
        }
        let survived = run.survive(&fault).await;
        survived.inspect_err(|_| run.world.tell()).with_context(|| format!("after {fault}"))?;
    }
    run.finish(options, &ground).await
}

struct Run {
    world: World,
    door: Door,
    journal: Journal,
    load: Load,
    before: Held,
    windows: Vec<Window>,
    agree_within: Duration,
    findings: Findings,
}

impl Run {
    async fn start(options: &Options, ground: &Ground, random: &mut Random) -> Result<Self> {
        let world = World::start(ground).await?;
        let journal = Journal::default();
        let mut door = Door::new(world.endpoints())?;
        let mut load = Load::start(&world.endpoints(), &journal, random);
        warm_up(&journal).await?;
        load.pause().await;
        agree(&mut door, PATIENCE).await?;
        let streams = world.bus.streams().await;
        say(&format!("streams with their replicas: {streams:?}"));
        let before = Held::by(&world).await?;
        load.resume();
        let (windows, findings, agree_within) = (Vec::new(), Findings::default(), options.agree_within);
        Ok(Self { world, door, journal, load, before, windows, agree_within, findings })
    }

    /// One fault: injected, undone, healed, and all nodes in agreement and of use again.
    async fn survive(&mut self, fault: &Fault) -> Result<()> {
        say(&fault.to_string());
        let begun_us = self.journal.now_us();
        inject(fault, &mut self.world).await?;
        let undone = Instant::now();
        heal(&self.world).await?;
        let ended_us = self.journal.now_us();
        self.load.pause().await;
        let quiet = Instant::now();
        let agreed = agree(&mut self.door, PATIENCE).await;
        agreed?;
        let agreed_after = undone.elapsed();
        for (what, took, within) in
            [("undone", agreed_after, self.agree_within), ("healed", quiet.elapsed(), AGREE_TIMEOUT)]
        {
            if took > within {
                let took = took.as_secs_f64();
                let late = format!("{fault}: the nodes agreed {took:.1} s after it was {what}, not within {within:?}");
                self.findings.wrong.push(late);
            }
        }
        for node in 0..NODES {
            self.is_of_use(node).await?;
        }
        self.load.resume();
        say(&format!("  agreed {:.1} s after it was undone", agreed_after.as_secs_f64()));
        self.windows.push(Window { kind: fault.kind, begun_us, ended_us, agreed_after });
        Ok(())
    }

    /// A call and a write go well at a node. They are part of the record like all others.
    async fn is_of_use(&mut self, node: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let acts = |unique: u64| {
            let write = Act::Append { key: format!("{}/probe", SPACES[0]), item: PROBES + unique };
            [Act::Call { mark: format!("probe-{unique}") }, write]
        };
        let mut done = [false; 2];
        loop {
            let begun_us = self.journal.now_us();
            for (act, done) in acts(begun_us).into_iter().zip(&mut done) {
                if !*done {
                    let begun_us = self.journal.now_us();
                    let outcome = self.door.act(node, &act, Uuid::new_v4()).await;
                    *done = matches!(outcome, Outcome::Called | Outcome::Written(_));
                    let ended_us = self.journal.now_us();
                    let last = format!("{act:?}: {outcome:?}");
                    self.journal.push(super::journal::Operation { node, act, begun_us, ended_us, outcome });
                    if !*done && Instant::now() > deadline {
                        bail!("node {node} is of no use after {PATIENCE:?}: {last}");
                    }
                }
            }
            if done == [true; 2] {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn finish(mut self, options: &Options, ground: &Ground) -> Result<Report> {
        say("all faults are over: checking");
        self.load.pause().await;
        self.load.stop_clients().await?;
        agree(&mut self.door, PATIENCE).await?;
        let caught_up = self.watchers_catch_up().await;
        if let Err(error) = self.load.stop_watchers().await {
            self.findings.wrong.push(format!("{error:#}"));
        }
        if let Err(error) = caught_up {
            self.findings.wrong.push(format!("{error:#}"));
        }
        let snapshots = self.snapshots().await?;
        say("all nodes and watchers have everything");
        if let Some(leak) = self.leak().await? {
            self.findings.wrong.push(leak);
        }
        for node in 0..NODES {
            if let Err(error) = self.world.stop(node).await {
                self.findings.wrong.push(format!("{error:#}"));
            }
        }
        say("checking what was recorded");
        let (operations, events) = (self.journal.operations(), self.journal.events());
        let counted = self.world.counted();
        let lasted = Duration::from_micros(self.journal.now_us());
        let found = tokio::task::spawn_blocking(move || {
            let found = check::all(&operations, &events, &counted, &snapshots);
            (found, operations)
        });
        let (found, operations) = found.await?;
        if let Some(folder) = &options.keep {
            keep::keep(folder, &self.world, &self.windows, &operations)?;
        }
        Ok(Report::new(options.seed, ground.to_string(), lasted, &self.windows, &operations, self.findings.and(found)))
    }

    /// Waits until every watcher has seen the last change of its space.
    async fn watchers_catch_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for space in SPACES {
            let keys = self.door.snapshot(0, space).await?;
            let last = keys.iter().map(|(_, state)| state.version).max().unwrap_or_default();
            for name in (0..NODES).map(|node| watcher::name(node, space)) {
                while self.journal.last_of(&name) < last {
                    if Instant::now() > deadline {
                        bail!("watcher {name} is at {} of {last} after {PATIENCE:?}", self.journal.last_of(&name));
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
        }
        Ok(())
    }

    /// What each node has in the end.
    async fn snapshots(&mut self) -> Result<Vec<check::Snapshot>> {
        let mut snapshots = Vec::new();
        for node in 0..NODES {
            let mut all = Vec::new();
            for space in SPACES {
                all.extend(self.door.snapshot(node, space).await?);
            }
            snapshots.push(all.into_iter().collect());
        }
        Ok(snapshots)
    }

    /// What is held too much, once what ends by itself has had the time to.
    async fn leak(&mut self) -> Result<Option<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            let held = Held::by(&self.world).await?;
            let leak = held.leak_since(&self.before);
            let Some(what) = leak.as_ref().filter(|_| Instant::now() < deadline) else {
                say(&format!("held {} before, and {held} now", self.before));
                return Ok(leak);
            };
            if !told {
                say(&format!("waiting for what ends by itself: {what}"));
                told = true;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Numbers of probes begin here, far above those of the load.
const PROBES: u64 = 1 << 60;

async fn warm_up(journal: &Journal) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let operations = journal.operations();
        let count = |wanted: fn(&Outcome) -> bool| operations.iter().filter(|done| wanted(&done.outcome)).count();
        let calls = count(|outcome| matches!(outcome, Outcome::Called));
        let writes = count(|outcome| matches!(outcome, Outcome::Written(_)));
        if calls.min(writes) >= WARM_UP {
            return Ok(());
        }
        if Instant::now() > deadline {
            let failures: Vec<_> = operations.iter().filter_map(|done| done.failure()).rev().take(5).collect();
            bail!("{calls} calls and {writes} writes went well in {PATIENCE:?}; the last failures: {failures:?}");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until all nodes have applied the same.
async fn agree(door: &mut Door, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let mut nodes = Vec::new();
        for node in 0..NODES {
            nodes.push(door.status(node).await);
        }
        let missing = match nodes.into_iter().collect::<Result<Vec<_>>>() {
            Ok(nodes) => agreed::missing(&nodes),
            Err(error) => Some(format!("{error:#}")),
        };
        let Some(missing) = missing else { return Ok(()) };
        if Instant::now() > deadline {
            bail!("the nodes do not agree after {limit:?}: {missing}");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A line about the progress, with the seconds since the first one.
fn say(text: &str) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    eprintln!("faults, {:>4.0} s: {text}", BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64());
}
