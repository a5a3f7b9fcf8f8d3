//! One task for one server: connects it, lists it, listens to it, and starts it again.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use spanwire_mcp::Era;
use spanwire_model::{
    Connected, Connector, Error, ErrorKind, Health, ListKind, Listing, Notice, Result, ServerFacts, ServerSpec,
    ServerState,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Attached, Config, Handle,
    attached::Gate,
    listing::{self, Complaints},
    owner::Command,
};

/// What a supervisor says of its server.
#[derive(Clone)]
pub(crate) struct Report {
    /// Tells the reports of a replaced supervisor apart.
    pub(crate) generation: u64,
    pub(crate) health: Health,
    pub(crate) facts: Option<Arc<ServerFacts>>,
    pub(crate) listing: Option<Arc<Listing>>,
    pub(crate) attached: Option<Arc<Attached>>,
}

/// Changes that come within this time make one listing.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Longest that closing a server may take before its task gives up on it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Supervisor {
    pub(crate) spec: ServerSpec,
    pub(crate) generation: u64,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) config: Arc<Config>,
    pub(crate) handle: Handle,
    pub(crate) cancel: CancellationToken,
    pub(crate) known_era: Option<Era>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) transport: Arc<str>,
}

/// How a connection ended.
enum End {
    Cancelled,
    Lost(Arc<str>),
}

impl Supervisor {
    pub(crate) async fn run(mut self) {
        let schedule = ExponentialBuilder::default()
            .with_min_delay(self.config.backoff_min)
            .with_max_delay(self.config.backoff_max)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        let mut backoff = schedule.build();
        let mut restarts = 0;
        loop {
            self.report(ServerState::Starting, None, restarts, None, None, None).await;
            let started = Instant::now();
            let detail = match self.connect().await {
                None => break,
                Some(Err(error)) => {
                    // What was known of the era may be what is wrong.
                    self.known_era = None;
                    let private = error.private.as_deref().unwrap_or_default();
                    tracing::warn!(server = %self.spec.id, private, "cannot connect: {error}");
                    Arc::from(error.public.as_ref())
                }
                Some(Ok(connected)) => match self.serve(connected, restarts).await {
                    End::Cancelled => break,
                    End::Lost(why) => {
                        tracing::warn!(server = %self.spec.id, "connection lost: {why}");
                        if started.elapsed() >= self.config.stable_after {
                            backoff = schedule.build();
                        }
                        why
                    }
                },
            };
            self.report(ServerState::Down, Some(detail), restarts, None, None, None).await;
            restarts += 1;
            let pause = backoff.next().unwrap_or(self.config.backoff_max);
            tokio::select! {
                () = self.cancel.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        self.report(ServerState::Stopped, None, restarts, None, None, None).await;
    }

    /// `None` when cancelled.
    async fn connect(&self) -> Option<Result<Connected>> {
        let limit = self.config.connect_timeout;
        let connecting = timeout(limit, self.connector.connect(&self.spec, self.known_era));
        tokio::select! {
            () = self.cancel.cancelled() => None,
            connected = connecting => Some(connected.unwrap_or_else(|_| {
                let text = format!("server \"{}\" was not ready within {} ms", self.spec.id, limit.as_millis());
                Err(Error::new(ErrorKind::Unavailable, text))
            })),
        }
    }

    async fn serve(&mut self, connected: Connected, restarts: u32) -> End {
        let Connected { upstream, facts, mut notices } = connected;
        let facts = Arc::new(facts);
        if self.known_era != Some(facts.era()) {
            self.known_era = Some(facts.era());
            self.handle.tell(Command::EraFound { id: self.spec.id.clone(), era: facts.era() }).await;
        }
        let attached = Arc::new(Attached {
            id: self.spec.id.clone(),
            upstream: upstream.clone(),
            facts: facts.clone(),
            transport: self.transport.clone(),
            call_timeout: self.spec.call_timeout_ms.map(Duration::from_millis),
            gate: self.gate.clone(),
        });
        let mut lists = Lists::default();
        let mut changed: Vec<ListKind> = ListKind::ALL.to_vec();
        let end = loop {
            tokio::select! {
                () = self.cancel.cancelled() => break End::Cancelled,
                () = lists.refresh(&self.spec.id, &upstream, &facts, &self.config.list, &changed) => {}
            }
            let state = if lists.complaints().is_none() { ServerState::Ready } else { ServerState::Degraded };
            let listing = Some(Arc::new(lists.listing.clone()));
            self.report(state, lists.complaints(), restarts, Some(facts.clone()), listing, Some(attached.clone()))
                .await;
            changed.clear();
            match self.changes(&mut notices, &mut changed).await {
                None => {}
                Some(end) => break end,
            }
        };
        // Whatever is still listed or called ends with the connection; a server that does not close is left to its transport.
        if timeout(CLOSE_TIMEOUT, upstream.close()).await.is_err() {
            tracing::error!(server = %self.spec.id, "did not close within {} s", CLOSE_TIMEOUT.as_secs());
        }
        end
    }

    /// Waits for changes and collects those that come together. `Some` when the connection ended.
    async fn changes(
        &self,
        notices: &mut tokio::sync::mpsc::Receiver<Notice>,
        changed: &mut Vec<ListKind>,
    ) -> Option<End> {
        let mut deadline = None;
        loop {
            let debounce = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let notice = tokio::select! {
                () = self.cancel.cancelled() => return Some(End::Cancelled),
                () = debounce => return None,
                notice = notices.recv() => notice,
            };
            match notice {
                None => return Some(End::Lost("the connection ended".into())),
                Some(Notice::Closed(why)) => return Some(End::Lost(why)),
                Some(Notice::ToolsChanged) => changed.push(ListKind::Tools),
                Some(Notice::PromptsChanged) => changed.push(ListKind::Prompts),
                Some(Notice::ResourcesChanged) => changed.extend([ListKind::Resources, ListKind::Templates]),
            }
            deadline.get_or_insert_with(|| Instant::now() + DEBOUNCE);
        }
    }

    async fn report(
        &self,
        state: ServerState,
        detail: Option<Arc<str>>,
        restarts: u32,
        facts: Option<Arc<ServerFacts>>,
        listing: Option<Arc<Listing>>,
        attached: Option<Arc<Attached>>,
    ) {
        let health = Health { state, detail, restarts };
        let report = Report { generation: self.generation, health, facts, listing, attached };
        self.handle.tell(Command::Report { id: self.spec.id.clone(), report: Box::new(report) }).await;
    }
}

/// The lists of one connection, with what was wrong with each.
#[derive(Default)]
struct Lists {
    listing: Listing,
    complaints: [Complaints; 4],
    ttl_ms: [u64; 4],
    private: [bool; 4],
}

impl Lists {
    async fn refresh(
        &mut self,
        id: &spanwire_model::ServerId,
        upstream: &Arc<dyn spanwire_model::Upstream>,
        facts: &ServerFacts,
        limits: &listing::ListLimits,
        kinds: &[ListKind],
    ) {
        let wanted = ListKind::ALL.into_iter().enumerate().filter(|(_, kind)| kinds.contains(kind));
        let reads =
            wanted.map(async |(index, kind)| (index, kind, listing::read_one(id, upstream, facts, kind, limits).await));
        for (index, kind, list) in futures::future::join_all(reads).await {
            *self.listing.of_mut(kind) = list.entries;
            self.complaints[index] = list.complaints;
            self.ttl_ms[index] = list.ttl_ms;
            self.private[index] = list.private;
        }
        // `u64::MAX` marks a list that the server does not have.
        self.listing.ttl_ms = self.ttl_ms.iter().copied().min().filter(|ttl| *ttl < u64::MAX).unwrap_or(0);
        self.listing.private = self.private.contains(&true);
    }

    fn complaints(&self) -> Option<Arc<str>> {
        let mut all = Complaints::default();
        self.complaints.iter().cloned().for_each(|complaints| all.join(complaints));
        all.text()
    }
}
