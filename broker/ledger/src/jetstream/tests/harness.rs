//! A server, nodes that follow its streams, and leases among them.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use spanwire_model::{
    Command, Holdings, Lease, LeaseKeeper, Leases, Ledger, NodeId, Receipt, Result, Shard, ShardState, ShardStatus,
    Tenant, View, Write,
};
use spanwire_telemetry::Telemetry;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    JetStreamLedger, JetStreamOptions, SledStore,
    jetstream::{names::Names, streams::Streams},
    testing::{Machines, command, machines, open, put},
};

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const SHARD: Shard = Shard::REGISTRY;

/// Leases among nodes of one process.
#[derive(Default, Clone)]
pub(super) struct OneHolder(Arc<Mutex<Option<LeaseKeeper>>>);

#[async_trait]
impl Leases for OneHolder {
    async fn acquire(&self, name: &str, _ttl: Duration) -> Result<Option<Lease>> {
        let mut holder = self.0.lock().unwrap();
        if holder.as_ref().is_some_and(|keeper| !keeper.released.is_cancelled()) {
            return Ok(None);
        }
        let (lease, keeper) = Lease::new(name, 1, Instant::now() + Duration::from_secs(3600));
        *holder = Some(keeper);
        Ok(Some(lease))
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        watch::Sender::new(Arc::default()).subscribe()
    }
}

/// What a node is made of.
pub(super) struct Recipe {
    pub(super) url: String,
    pub(super) leases: OneHolder,
    pub(super) version: u16,
    pub(super) machines: fn(u16) -> Machines,
    pub(super) options: fn(JetStreamOptions) -> JetStreamOptions,
}

impl Recipe {
    pub(super) fn new(url: String) -> Self {
        Self { url, leases: OneHolder::default(), version: 1, machines, options: |options| options }
    }

    /// A node with its files in the folder.
    pub(super) async fn node(&self, name: &str, folder: &Path) -> Node {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .connect(self.url.split(',').collect::<Vec<_>>())
            .await
            .unwrap();
        let store = open(&folder.join("store")).await;
        let node: NodeId = name.parse().unwrap();
        let telemetry = Telemetry::disabled(node.clone());
        let options = JetStreamOptions::new(Tenant::default(), "sw.v1", node, folder.join("ledger"));
        let machines = (self.machines)(self.version);
        let ledger = JetStreamLedger::start(
            client.clone(),
            store.clone(),
            &machines,
            Arc::new(self.leases.clone()),
            telemetry.clone(),
            (self.options)(options),
        );
        Node { ledger: ledger.await.unwrap(), client, store, telemetry }
    }
}

/// Small steps, so that a test sees what takes thousands of entries otherwise.
pub(super) fn small(options: JetStreamOptions) -> JetStreamOptions {
    JetStreamOptions { checkpoint_entries: 10, snapshot_entries: 20, log_margin: 5, ..options }
}

/// A node that follows its log, and its folder.
pub(super) async fn node(recipe: &Recipe, name: &str) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let node = recipe.node(name, folder.path()).await;
    node.is(ShardState::Following).await;
    (node, folder)
}

pub(super) struct Node {
    pub(super) ledger: JetStreamLedger,
    pub(super) client: async_nats::Client,
    pub(super) store: SledStore,
    pub(super) telemetry: Telemetry,
}

impl Node {
    pub(super) fn status(&self) -> ShardStatus {
        self.ledger.status().into_iter().find(|status| status.shard == SHARD).unwrap()
    }

    pub(super) async fn append(&self, operation: u128, body: &str) -> Result<Receipt> {
        self.append_command(command(operation, body)).await
    }

    pub(super) async fn append_command(&self, command: Command) -> Result<Receipt> {
        self.ledger.append(SHARD, command, Instant::now() + PATIENCE).await
    }

    /// Puts `k{operation}` for each operation of the range.
    pub(super) async fn fill(&self, operations: std::ops::Range<u128>) {
        let appends = operations.map(|operation| async move {
            self.append(operation, &put(&format!("k{operation}"), "x")).await.unwrap().outcome.unwrap();
        });
        futures::future::join_all(appends).await;
    }

    pub(super) fn value(&self, key: &str) -> Option<String> {
        let mut found = None;
        let mut read = |view: &dyn View, _| {
            found = view.get(key.as_bytes()).unwrap().map(|value| String::from_utf8(value).unwrap());
            Ok(())
        };
        self.ledger.read(SHARD, &mut read).unwrap();
        found
    }

    pub(super) async fn is(&self, state: ShardState) {
        until(&format!("the shard is {}", state.as_str()), || {
            let status = self.status();
            (status.state == state).then_some(()).ok_or(status)
        })
        .await;
    }

    /// Waits until the node has applied what another one has, with the same hash.
    pub(super) async fn agrees_with(&self, other: &Self) {
        until("two nodes agree", || {
            let (own, its) = (self.status(), other.status());
            let agreed = (own.applied, &own.hash) == (its.applied, &its.hash);
            agreed.then_some(()).ok_or_else(|| format!("{own:?} and {its:?}"))
        })
        .await;
    }

    pub(super) fn streams(&self) -> Streams {
        Streams::new(self.client.clone(), Names::new(Tenant::default(), "sw.v1"), None, 64 * 1024 * 1024)
    }

    /// Changes a counter in this node's view behind its back.
    pub(super) async fn damage(&self, key: &str, value: &str) {
        let mut keys = self.store.tree().iter(b"ledger/registry.0/".to_vec(), None).map(Result::unwrap);
        let (key, _) = keys.find(|(found, _)| found.ends_with(format!("v{key}").as_bytes())).unwrap();
        // One byte before the value: it is whole.
        let value = [b"\x00", value.as_bytes()].concat();
        self.store.write(vec![Write::Put { key, value }], true).await.unwrap();
    }

    pub(super) fn rebuilds(&self) -> u64 {
        let text = self.telemetry.metrics().encode_openmetrics();
        let line = text.lines().find_map(|line| line.strip_prefix("spanwire_ledger_rebuilds_total "));
        line.unwrap().parse().unwrap()
    }

    /// Closes it, so that its folder can be used again.
    pub(super) async fn close(self) {
        self.ledger.close().await;
    }
}

/// Waits until something is so.
pub(super) async fn until<T: std::fmt::Debug>(what: &str, mut check: impl FnMut() -> std::result::Result<(), T>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(()) => return,
            Err(found) => assert!(Instant::now() < deadline, "never: {what}; last: {found:?}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}
