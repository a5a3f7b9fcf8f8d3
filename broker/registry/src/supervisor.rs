//! One task for one server: connects it, lists it, listens to it, and starts it again.

mod claim;
mod lists;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use spanwire_mcp::{Era, Json, Method};
use spanwire_model::{
    Connected, Connector, Error, ErrorKind, Health, ListKind, Listing, Notice, Principal, Result, ServerFacts,
    ServerId, ServerSpec, ServerState, Target, Upstream, UpstreamCall,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Attached, Config, Handle,
    listing::{self, ListLimits, ReadList},
    owner::Command,
    placement::{Claim, GivenBack},
    queue::Gate,
};

pub(crate) use self::lists::Lists;

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

/// Failures in a row after which a placed server is left to another node, if there is one.
const UNFIT_AFTER: u32 = 5;

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
    pub(crate) lists: Lists,
    /// The right to run it here, where it needs one.
    pub(crate) claim: Option<Claim>,
    /// Whoever ran it here before has ended when this can be locked.
    pub(crate) turn: Arc<Mutex<()>>,
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
        let (mut restarts, mut failures) = (0, 0);
        let mut why = GivenBack::Ended;
        self.end_with_the_lease();
        // Held to the end.
        let _turn = self.turn().await;
        loop {
            self.report(ServerState::Starting, None, restarts, None, None, None).await;
            let detail = match self.connect().await {
                None => break,
                Some(Err(error)) => {
                    // What was known of the era may be what is wrong.
                    self.known_era = None;
                    let private = error.private.as_deref().unwrap_or_default();
                    tracing::warn!(server = %self.spec.id, private, "cannot connect: {error}");
                    Arc::from(error.public.as_ref())
                }
                Some(Ok(connected)) => {
                    let (since, upstream) = (Instant::now(), connected.upstream.clone());
                    why = GivenBack::Ran;
                    let end = self.serve(connected, restarts).await;
                    if let End::Lost(why) = &end {
                        tracing::warn!(server = %self.spec.id, "connection lost: {why}");
                        // Before the remains are cleared away, which may take long: nothing is sent there any more.
                        self.report(ServerState::Down, Some(why.clone()), restarts, None, None, None).await;
                    }
                    if matches!(end, End::Cancelled) {
                        // Before it is closed, which may take long: nothing is sent there any more.
                        self.ended().await;
                    }
                    self.close(upstream).await;
                    match end {
                        End::Cancelled => break,
                        End::Lost(why) => {
                            if since.elapsed() >= self.config.stable_after {
                                (backoff, failures) = (schedule.build(), 0);
                            }
                            why
                        }
                    }
                }
            };
            self.report(ServerState::Down, Some(detail), restarts, None, None, None).await;
            restarts += 1;
            failures += 1;
            if failures >= UNFIT_AFTER && self.others_may_run_it() {
                tracing::warn!(server = %self.spec.id, "does not start here: left to another node");
                why = GivenBack::Unfit;
                break;
            }
            // The jitter comes on top of the schedule's own limit.
            let pause = backoff.next().unwrap_or(self.config.backoff_max).min(self.config.backoff_max);
            tokio::select! {
                () = self.cancel.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
        // Whoever still waits for a slot waits in vain.
        self.gate.close();
        self.report(ServerState::Stopped, None, restarts, None, None, None).await;
        self.give_back(why).await;
    }

    /// `None` when cancelled, and when it may not be started any more.
    async fn connect(&self) -> Option<Result<Connected>> {
        let is_gone = tokio::select! {
            // First: whoever was cancelled before its turn came has none.
            biased;
            () = self.cancel.cancelled() => return None,
            is_gone = self.is_gone() => is_gone,
        };
        if !is_gone {
            let text = format!("server \"{}\" has not ended, as it was started before", self.spec.id);
            return Some(Err(Error::new(ErrorKind::Unavailable, text)));
        }
        if self.claim.as_ref().is_some_and(|claim| !claim.lease.is_valid()) {
            // Nobody may have said so yet: the machine slept, and its timers with it.
            tracing::warn!(server = %self.spec.id, "its lease is over: not started on this node");
            return None;
        }
        let limit = self.config.connect_timeout;
        let connecting = timeout(limit, async {
            match &self.claim {
                None => self.connector.connect(&self.spec, self.known_era).await,
                Some(claim) => {
                    let fence = claim.lease.fence();
                    self.connector.connect_fenced(&self.spec, self.known_era, &fence).await
                }
            }
        });
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
            let (id, generation) = (self.spec.id.clone(), self.generation);
            self.handle.tell(Command::EraFound { id, generation, era: facts.era() }).await;
        }
        let attached = Arc::new(Attached {
            id: self.spec.id.clone(),
            upstream: upstream.clone(),
            facts: facts.clone(),
            transport: self.transport.clone(),
            call_timeout: self.spec.call_timeout_ms.map(Duration::from_millis),
            is_one_that_moves: self.claim.is_some() && self.spec.replicas == 1,
            fence: self.claim.as_ref().map(|claim| claim.lease.fence()),
            gate: self.gate.clone(),
        });
        let mut changed: Vec<ListKind> = ListKind::ALL.to_vec();
        loop {
            if let Some(end) = self.refresh(&upstream, &facts, &mut notices, &mut changed).await {
                return end;
            }
            let complaints = self.lists.complaints();
            let state = if complaints.is_none() { ServerState::Ready } else { ServerState::Degraded };
            let listing = Some(Arc::new(self.lists.listing.clone()));
            self.report(state, complaints, restarts, Some(facts.clone()), listing, Some(attached.clone())).await;
            if let Some(end) = self.changes(&upstream, &facts, &mut notices, &mut changed).await {
                return end;
            }
        }
    }

    /// Reads the lists that changed; what changes meanwhile is left in `changed`. `Some` when the connection ended: a listing that
    /// breaks off with it says nothing of the server.
    async fn refresh(
        &mut self,
        upstream: &Arc<dyn Upstream>,
        facts: &ServerFacts,
        notices: &mut mpsc::Receiver<Notice>,
        changed: &mut Vec<ListKind>,
    ) -> Option<End> {
        let kinds = std::mem::take(changed);
        let reading = read_lists(&self.spec.id, upstream, facts, &self.config.list, &kinds);
        tokio::pin!(reading);
        let lists = loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Some(End::Cancelled),
                notice = notices.recv() => match heard(notice) {
                    Ok(kinds) => changed.extend(kinds),
                    Err(end) => return Some(end),
                },
                lists = &mut reading => break lists,
            }
        };
        self.lists.take(lists);
        None
    }

    /// Ends a connection. A server that does not close in time is left to its transport.
    async fn close(&self, upstream: Arc<dyn Upstream>) {
        tokio::select! {
            // It begins to close in any case.
            biased;
            closed = timeout(CLOSE_TIMEOUT, upstream.close()) => if closed.is_err() {
                tracing::error!(server = %self.spec.id, "did not close within {} s", CLOSE_TIMEOUT.as_secs());
            },
            () = self.handle.abandoned() => {}
        }
    }

    /// Waits for changes and collects those that come together. `Some` when the connection ended.
    async fn changes(
        &self,
        upstream: &Arc<dyn Upstream>,
        facts: &ServerFacts,
        notices: &mut mpsc::Receiver<Notice>,
        changed: &mut Vec<ListKind>,
    ) -> Option<End> {
        let mut probes = tokio::time::interval_at(Instant::now() + self.config.probe, self.config.probe);
        probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let is_child = matches!(self.spec.target, Target::Stdio(_) | Target::Builtin(_));
        let mut deadline = None;
        loop {
            if !changed.is_empty() {
                deadline.get_or_insert_with(|| Instant::now() + DEBOUNCE);
            }
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
                _ = probes.tick(), if !is_child => {
                    self.probe(upstream.clone(), facts.era());
                    continue;
                }
            };
            match heard(notice) {
                Ok(kinds) => changed.extend(kinds),
                Err(end) => return Some(end),
            }
        }
    }

    /// Asks the server whether it is there. Only its connection matters: when that fails, its transport says so with a notice. A
    /// server that is busy may take its time.
    fn probe(&self, upstream: Arc<dyn Upstream>, era: Era) {
        let method = match era {
            Era::Modern => Method::Discover,
            Era::Legacy => Method::Ping,
        };
        let deadline = Instant::now() + self.config.probe;
        let params = Json::empty_object();
        let call = UpstreamCall {
            call_id: Uuid::now_v7(),
            principal: Principal::OPERATOR.into(),
            method,
            params,
            deadline,
            trace: None,
        };
        let cancel = self.cancel.clone();
        self.handle.tasks().spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                _ = tokio::time::timeout_at(deadline, upstream.call(call).outcome()) => {}
            }
        });
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

/// Which lists a notice is about, or how the connection ended.
fn heard(notice: Option<Notice>) -> Result<&'static [ListKind], End> {
    match notice {
        None => Err(End::Lost("the connection ended".into())),
        Some(Notice::Closed(why)) => Err(End::Lost(why)),
        Some(Notice::ToolsChanged) => Ok(&[ListKind::Tools]),
        Some(Notice::PromptsChanged) => Ok(&[ListKind::Prompts]),
        Some(Notice::ResourcesChanged) => Ok(&[ListKind::Resources, ListKind::Templates]),
    }
}

async fn read_lists(
    id: &ServerId,
    upstream: &Arc<dyn Upstream>,
    facts: &ServerFacts,
    limits: &ListLimits,
    kinds: &[ListKind],
) -> Vec<(ListKind, ReadList)> {
    let wanted = ListKind::ALL.into_iter().filter(|kind| kinds.contains(kind));
    let reads = wanted.map(async |kind| (kind, listing::read_one(id, upstream, facts, kind, limits).await));
    futures::future::join_all(reads).await
}
