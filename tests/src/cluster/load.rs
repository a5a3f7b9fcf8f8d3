//! A steady load: calls of the tool that counts, writes and reads of a few keys, and watchers of all changes, each through any node.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    door::Door,
    journal::{Act, Journal, Level, Operation, Outcome},
    random::Random,
    watcher,
    world::{Endpoints, NODES},
};

/// The spaces that are written, in several shards of the log.
pub const SPACES: [&str; 3] = ["load-0", "load-1", "load-2"];
/// Keys that are in use at a time, in each space.
const KEYS: u64 = 3;
/// Operations after which a space goes on with new keys, so that the history of one key stays short enough to be checked.
const OPERATIONS_PER_GENERATION: u64 = 450;
/// Clients that call, and clients that write and read. The first of each stay with a node of their own, as most clients do, so that those
/// of the other nodes show how these are when one gives no answer; the others go to any node.
const CALLERS: usize = NODES + 2;
const WRITERS: usize = NODES + 3;
/// Between two operations of one client.
const PAUSE: Duration = Duration::from_millis(25);
/// Between two tries of a write whose outcome is unknown, and how many there are.
const RETRY_PAUSE: Duration = Duration::from_millis(300);
const TRIES: usize = 4;

/// What all clients share.
struct Shared {
    endpoints: Endpoints,
    journal: Journal,
    running: watch::Receiver<bool>,
    next: AtomicU64,
    /// Operations so far, per space.
    made: [AtomicU64; SPACES.len()],
}

/// The clients. Dropping it ends them where they are.
pub struct Load {
    running: watch::Sender<bool>,
    idle: watch::Receiver<usize>,
    stop: CancellationToken,
    stop_watchers: CancellationToken,
    clients: JoinSet<Result<()>>,
    watchers: JoinSet<Result<()>>,
}

impl Load {
    /// Starts the clients; each does what its part of the seed says, as fast as it may.
    pub fn start(endpoints: &Endpoints, journal: &Journal, random: &mut Random) -> Self {
        let (running, run) = watch::channel(true);
        let (idle_count, idle) = watch::channel(0);
        let (stop, stop_watchers) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            endpoints: endpoints.clone(),
            journal: journal.clone(),
            running: run,
            next: AtomicU64::new(1),
            made: Default::default(),
        });
        let (mut clients, mut watchers) = (JoinSet::new(), JoinSet::new());
        for number in 0..CALLERS + WRITERS {
            let calls = number < CALLERS;
            let home = if calls { number } else { number - CALLERS };
            let home = (home < NODES).then_some(home);
            let client = Client { shared: shared.clone(), random: random.fork(), home, known: HashMap::new() };
            let task = client.run(calls, idle_count.clone());
            let stop = stop.clone();
            clients.spawn(async move { stop.run_until_cancelled(task).await.unwrap_or(Ok(())) });
        }
        for node in 0..NODES {
            for space in SPACES {
                let task = watcher::run(endpoints.clone(), journal.clone(), node, space);
                let stop = stop_watchers.clone();
                watchers.spawn(async move { stop.run_until_cancelled(task).await.unwrap_or(Ok(())) });
            }
        }
        Self { running, idle, stop, stop_watchers, clients, watchers }
    }

    /// Lets no client begin anything, and returns when what was begun has ended.
    pub async fn pause(&mut self) {
        self.running.send_replace(false);
        let _ = self.idle.wait_for(|idle| *idle == CALLERS + WRITERS).await;
    }

    /// Goes on.
    pub fn resume(&self) {
        self.running.send_replace(true);
    }

    /// Ends the clients, who are paused; the watchers go on.
    ///
    /// # Errors
    /// A client that could not do its work at all.
    pub async fn stop_clients(&mut self) -> Result<()> {
        self.stop.cancel();
        join(&mut self.clients).await
    }

    /// Ends the watchers.
    ///
    /// # Errors
    /// A watcher that was told what it must not be told.
    pub async fn stop_watchers(&mut self) -> Result<()> {
        self.stop_watchers.cancel();
        join(&mut self.watchers).await
    }
}

async fn join(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One client.
struct Client {
    shared: Arc<Shared>,
    random: Random,
    /// The node that it stays with.
    home: Option<usize>,
    /// The newest version of each key that it knows of.
    known: HashMap<String, u64>,
}

impl Client {
    async fn run(mut self, calls: bool, idle: watch::Sender<usize>) -> Result<()> {
        let mut door = Door::new(self.shared.endpoints.clone())?;
        let mut running = self.shared.running.clone();
        loop {
            if !*running.borrow_and_update() {
                idle.send_modify(|idle| *idle += 1);
                let went_on = running.wait_for(|running| *running).await.is_ok();
                idle.send_modify(|idle| *idle -= 1);
                anyhow::ensure!(went_on, "the load is gone");
            }
            let act = if calls { self.call() } else { self.write_or_read() };
            let operation = self.perform(&mut door, act).await;
            self.learn(&operation);
            self.shared.journal.push(operation);
            sleep(PAUSE).await;
        }
    }

    /// Does it at its node, or any. A write that may have been done is tried again, at another one: it must not be done twice by that. A call is
    /// never repeated.
    async fn perform(&mut self, door: &mut Door, act: Act) -> Operation {
        let (id, begun_us) = (Uuid::new_v4(), self.shared.journal.now_us());
        let first = self.home.unwrap_or_else(|| self.random.index(NODES));
        let mut outcome = door.act(first, &act, id).await;
        let writes = matches!(act, Act::Put { .. } | Act::PutIf { .. } | Act::Append { .. });
        for _ in 1..TRIES {
            if !writes || !matches!(outcome, Outcome::Unknown(_)) {
                break;
            }
            sleep(RETRY_PAUSE).await;
            outcome = match door.act(self.random.index(NODES), &act, id).await {
                // This try did nothing; the first one may have.
                Outcome::NotDone(_) => outcome,
                known => known,
            };
        }
        Operation { node: first, act, begun_us, ended_us: self.shared.journal.now_us(), outcome }
    }

    fn call(&self) -> Act {
        Act::Call { mark: format!("m{}", self.shared.next.fetch_add(1, Ordering::Relaxed)) }
    }

    fn write_or_read(&mut self) -> Act {
        let space = self.random.index(SPACES.len());
        let made = self.shared.made[space].fetch_add(1, Ordering::Relaxed);
        let generation = made / OPERATIONS_PER_GENERATION;
        let key = format!("{}/{generation}-{}", SPACES[space], self.random.below(KEYS));
        let item = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let known = self.known.get(&key).copied().filter(|version| *version > 0);
        match self.random.below(10) {
            0 => Act::Put { key, item },
            1..=3 => Act::PutIf { expected: known.unwrap_or(0), key, item },
            4..=6 => Act::Append { key, item },
            7 => Act::Read { key, level: Level::Linearizable },
            8 => Act::Read { key, level: Level::Local },
            _ => Act::Read { level: known.map_or(Level::Linearizable, Level::AtLeast), key },
        }
    }

    fn learn(&mut self, operation: &Operation) {
        let version = match &operation.outcome {
            Outcome::Written(version) => *version,
            Outcome::Read(seen) => seen.version,
            Outcome::Refused(current) => current.unwrap_or_default(),
            Outcome::Called | Outcome::NotDone(_) | Outcome::Unknown(_) => return,
        };
        let key = match &operation.act {
            Act::Call { .. } => return,
            Act::Put { key, .. } | Act::PutIf { key, .. } | Act::Append { key, .. } | Act::Read { key, .. } => key,
        };
        let known = self.known.entry(key.clone()).or_default();
        *known = (*known).max(version);
    }
}
