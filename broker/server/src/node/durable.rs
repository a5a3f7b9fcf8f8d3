//! What is durable, and what only one node may do at a time: the ledger, the leases, and the shared context on them.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use spanwire_context::{Access, AllowAll, AllowList, ContextMachine, Contexts, Quotas, Rule, Verb};
use spanwire_ledger::{
    Backups, JetStreamLeases, JetStreamLeasesConfig, JetStreamLedger, JetStreamOptions, LocalLedger, MemoryLeases,
    SledStore,
};
use spanwire_model::{Book, Leases, Ledger, Machine, NodeId, Principal};
use spanwire_telemetry::Telemetry;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::connection;
use crate::config::{Config, GrantVerb, LedgerStore, Nats};

/// Where snapshots of the log are on their way, in the data folder.
const SNAPSHOTS: &str = "ledger";

/// The durable part of a node.
pub(super) struct Durable {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) leases: Arc<dyn Leases>,
    /// Where the log is kept, in one word.
    pub(super) kept: &'static str,
    /// Of what this node keeps.
    pub(super) backups: Backups,
    /// The same ledger where closing it does something.
    follower: Option<Arc<JetStreamLedger>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Durable {
    /// Opens the views; with JetStream also when it is out of reach: then the shards say so.
    pub(super) async fn open(
        config: &Config,
        node: &NodeId,
        data: &Path,
        store: SledStore,
        telemetry: &Telemetry,
    ) -> anyhow::Result<Self> {
        let machines = machines();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        match (config.ledger.store, &config.nats) {
            (LedgerStore::Local, _) | (LedgerStore::Auto | LedgerStore::Jetstream, None) => {
                let ledger = LocalLedger::open(store, machines, telemetry.clone()).await;
                let ledger = ledger.context("cannot read the ledger in the data folder")?;
                let backups = ledger.backups(node.clone());
                let ledger: Arc<dyn Ledger> = Arc::new(ledger);
                let leases = Arc::new(MemoryLeases::new(node.clone()));
                Ok(Self { ledger, leases, kept: "local", backups, follower: None, tasks, stop })
            }
            (LedgerStore::Auto | LedgerStore::Jetstream, Some(nats)) => {
                let (ledger, leases) = jetstream(config, nats, node, data, store, &machines, telemetry).await?;
                let (backups, follower) = (ledger.backups(), Some(ledger.clone()));
                Ok(Self { ledger, leases, kept: "jetstream", backups, follower, tasks, stop })
            }
        }
    }

    /// The shared context, unless the node runs without it. What expires in it goes from now on.
    pub(super) fn contexts(&self, config: &Config, node: &NodeId, telemetry: &Telemetry) -> Option<Contexts> {
        let section = &config.context;
        if !section.enabled {
            return None;
        }
        let quotas = Quotas {
            value_bytes: section.max_value_bytes,
            keys: section.max_keys,
            bytes: section.max_bytes,
            log_events: section.log_events,
            ..Quotas::default()
        };
        let settings =
            spanwire_context::Config { quotas, access: access(config), ..spanwire_context::Config::new(node.clone()) };
        let contexts = Contexts::new(self.ledger.clone(), settings, telemetry.clone());
        self.tasks.spawn(contexts.clone().expire(self.leases.clone(), self.stop.clone()));
        Some(contexts)
    }

    /// Gives back the leases that it took for itself, and stops following the log.
    pub(super) async fn close(&self, within: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::debug!("the duties of the ledger were still running at the end of the time to drain");
        }
        if let Some(follower) = &self.follower {
            follower.close().await;
        }
    }
}

/// The state machine of each book.
pub(super) fn machines() -> BTreeMap<Book, Arc<dyn Machine>> {
    [
        (Book::Registry, Arc::new(spanwire_registry::Machine) as Arc<dyn Machine>),
        (Book::Context, Arc::new(ContextMachine)),
    ]
    .into()
}

/// The ledger and the leases have a connection of their own: reading a long log does not hold up calls.
async fn jetstream(
    config: &Config,
    nats: &Nats,
    node: &NodeId,
    data: &Path,
    store: SledStore,
    machines: &BTreeMap<Book, Arc<dyn Machine>>,
    telemetry: &Telemetry,
) -> anyhow::Result<(Arc<JetStreamLedger>, Arc<dyn Leases>)> {
    let settings = connection::settings(nats, config.node.tenant.clone(), node);
    let connection = spanwire_nats::connect(&settings).await.context("cannot use NATS for the ledger")?;
    let client = connection.client.clone();
    let replicas = config.ledger.replicas;
    let leases = JetStreamLeasesConfig { nats: settings, replicas: replicas.map(usize::from) };
    let leases: Arc<dyn Leases> = Arc::new(JetStreamLeases::start(connection, &leases));
    let defaults =
        JetStreamOptions::new(config.node.tenant.clone(), nats.prefix.as_str(), node.clone(), data.join(SNAPSHOTS));
    let options = JetStreamOptions {
        domain: nats.jetstream_domain.clone(),
        replicas,
        snapshot_entries: config.ledger.snapshot_every.unwrap_or(defaults.snapshot_entries),
        log_margin: config.ledger.keep_entries.unwrap_or(defaults.log_margin),
        ..defaults
    };
    let ledger = JetStreamLedger::start(client, store, machines, leases.clone(), telemetry.clone(), options).await;
    Ok((Arc::new(ledger.context("cannot follow the ledger")?), leases))
}

/// Who may do what in the shared context: everybody everything, unless there are principals.
fn access(config: &Config) -> Arc<dyn Access> {
    if config.principals.is_empty() {
        return Arc::new(AllowAll);
    }
    let operator = Rule {
        principal: Principal::OPERATOR.to_owned(),
        space: "*".to_owned(),
        key: "*".to_owned(),
        verbs: Verb::ALL.to_vec(),
    };
    let granted = config.principals.iter().flat_map(|principal| {
        // The configuration was checked: what cannot be read is not there.
        let grants = principal.grants().unwrap_or_default();
        grants.into_iter().map(|grant| Rule {
            principal: principal.name.clone(),
            space: grant.spaces,
            key: grant.keys,
            verbs: verbs(grant.verb),
        })
    });
    Arc::new(AllowList::new(std::iter::once(operator).chain(granted).collect()))
}

fn verbs(most: GrantVerb) -> Vec<Verb> {
    match most {
        GrantVerb::Read => vec![Verb::Read],
        GrantVerb::Append => vec![Verb::Read, Verb::Append],
        GrantVerb::Write => vec![Verb::Read, Verb::Append, Verb::Write],
        GrantVerb::Admin => Verb::ALL.to_vec(),
    }
}
