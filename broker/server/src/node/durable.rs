//! What is durable, and what only one node may do at a time: the ledger, the leases, and the shared context on them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use spanwire_context::{Access, AllowAll, AllowList, ContextMachine, Contexts, Quotas, Rule, Verb};
use spanwire_ledger::{LocalLedger, MemoryLeases, SledStore};
use spanwire_model::{Book, Leases, Ledger, Machine, NodeId, Principal};
use spanwire_telemetry::Telemetry;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::{Config, GrantVerb};

/// The durable part of a node.
pub(super) struct Durable {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) leases: Arc<dyn Leases>,
    /// Where the log is kept, in one word.
    pub(super) kept: &'static str,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Durable {
    /// Opens the views.
    pub(super) async fn open(node: &NodeId, store: SledStore, telemetry: &Telemetry) -> anyhow::Result<Self> {
        let machines: BTreeMap<Book, Arc<dyn Machine>> = [
            (Book::Registry, Arc::new(spanwire_registry::Machine) as Arc<dyn Machine>),
            (Book::Context, Arc::new(ContextMachine)),
        ]
        .into();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let ledger = LocalLedger::open(store, machines, telemetry.clone()).await;
        let ledger: Arc<dyn Ledger> = Arc::new(ledger.context("cannot read the ledger in the data folder")?);
        let leases = Arc::new(MemoryLeases::new(node.clone()));
        Ok(Self { ledger, leases, kept: "local", tasks, stop })
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
    }
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
