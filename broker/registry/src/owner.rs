//! The task that owns the state of the registry.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use spanwire_mcp::Era;
use spanwire_model::{
    Inventory, Listing, NodeId, NodeInfo, Placed, Result, ServerEntry, ServerId, ServerSpec, Source, Write,
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Handle, Parts,
    desired::{Desired, Want},
    migrate, peers,
    placement::{self, Claim, Wishes},
    queue::Gate,
    register::Register,
    state::{Beat, NodeState, WireServer},
    store::books,
    supervisor::Report,
};

mod run;
mod shown;

/// Longest state that the peers are told: half of what one message between nodes may have.
const MAX_STATE_BYTES: usize = 8 * 1024 * 1024;

/// What the owner is asked and told.
pub(crate) enum Command {
    /// The registry has something new that the one who asks wants to see done.
    Reconcile {
        reply: oneshot::Sender<()>,
    },
    /// Forget what the store of this node has of a server. True when it had one that was not in the registry.
    Forget {
        id: ServerId,
        reply: oneshot::Sender<Result<bool>>,
    },
    /// What the store had is in the registry now.
    Migrated(ServerId),
    /// A lease was taken.
    Placed {
        id: ServerId,
        claim: Box<Claim>,
    },
    /// A placed server is being closed: its lease was lost, or is given back.
    Ended {
        id: ServerId,
        generation: u64,
    },
    /// Give all leases back, once the calls in flight have ended, or after the time given.
    HandOver {
        within: Duration,
        reply: oneshot::Sender<()>,
    },
    Report {
        id: ServerId,
        report: Box<Report>,
    },
    EraFound {
        id: ServerId,
        generation: u64,
        era: Era,
    },
    PeerState(Box<NodeState>),
    PeerGone(NodeId),
    /// How all the other nodes are.
    Presence(Vec<NodeInfo>),
    /// This node is about to leave.
    Drain,
}

/// A server of this node.
struct Local {
    /// What it was started for.
    want: Want,
    target: String,
    transport: Arc<str>,
    report: Report,
    cancel: CancellationToken,
    gate: Arc<Gate>,
    /// By which lease it runs, where it needs one.
    placed: Option<Placed>,
}

pub(crate) struct Owner {
    config: Arc<Config>,
    parts: Parts,
    handle: Handle,
    register: Register,
    publisher: watch::Sender<Arc<Inventory>>,
    beats: watch::Sender<Beat>,
    desired: Desired,
    /// The last entry of the registry that `desired` knows.
    read_to: u64,
    /// When the registry is read again, though nothing tells of it: its view is behind `read_to`.
    look_again: Option<Instant>,
    wishes: watch::Sender<Arc<Wishes>>,
    /// Cancelled when no lease is to be taken any more.
    leaving: CancellationToken,
    locals: BTreeMap<ServerId, Local>,
    /// Whose turn it is to have a child, for each server.
    turns: BTreeMap<ServerId, Arc<Mutex<()>>>,
    peers: BTreeMap<NodeId, Vec<Arc<ServerEntry>>>,
    /// Placed servers as they were when somebody ran them last.
    last_placed: shown::LastPlaced,
    /// When one of them is shown no longer.
    look_at_placed: Option<Instant>,
    /// Why this node cannot run a server that it may run.
    unfit: BTreeMap<ServerId, Arc<str>>,
    presence: BTreeMap<NodeId, NodeInfo>,
    eras: HashMap<ServerId, books::KnownEra>,
    generation: u64,
    beat: Beat,
    version: u64,
}

impl Owner {
    pub(crate) fn new(
        config: Config,
        parts: Parts,
        handle: Handle,
        publisher: watch::Sender<Arc<Inventory>>,
        configured: Vec<ServerSpec>,
    ) -> Result<Self> {
        let beat = Beat { incarnation: uuid::Uuid::now_v7().as_u64_pair().1, version: 1 };
        let kept = books::servers(&*parts.store)?;
        Ok(Self {
            desired: Desired::new(&config, configured, kept),
            eras: books::eras(&*parts.store)?,
            register: handle.register().clone(),
            config: Arc::new(config),
            parts,
            handle,
            publisher,
            beats: watch::channel(beat).0,
            read_to: 0,
            look_again: None,
            wishes: watch::channel(Arc::default()).0,
            leaving: CancellationToken::new(),
            locals: BTreeMap::new(),
            turns: BTreeMap::new(),
            peers: BTreeMap::new(),
            last_placed: shown::LastPlaced::default(),
            look_at_placed: None,
            unfit: BTreeMap::new(),
            presence: BTreeMap::new(),
            generation: 0,
            beat,
            version: 0,
        })
    }

    /// Starts what this node knows it is to run, whatever else is in reach.
    pub(crate) async fn start(mut self, inbox: mpsc::Receiver<Command>) -> Result<()> {
        let applied = self.register.applied();
        self.reconcile().await;
        self.publish(true);
        peers::start(self.config.clone(), self.parts.backbone.clone(), self.handle.clone(), self.beats.subscribe())
            .await?;
        let tasks = self.handle.tasks().clone();
        let kept = self.desired.kept();
        if !kept.is_empty() {
            let store = self.parts.store.clone();
            tasks.spawn(migrate::run(self.handle.clone(), self.register.clone(), store, kept));
        }
        let parts = placement::Parts {
            leases: self.parts.leases.clone(),
            wishes: self.wishes.subscribe(),
            leaving: self.leaving.clone(),
        };
        placement::start(self.config.clone(), self.handle.clone(), parts);
        tasks.spawn(self.run(inbox, applied));
        Ok(())
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, mut applied: watch::Receiver<u64>) {
        let stopping = self.handle.stopping().clone();
        let mut is_followed = true;
        loop {
            tokio::select! {
                command = inbox.recv() => match command {
                    None => break,
                    Some(command) => self.handle_command(command).await,
                },
                changed = applied.changed(), if is_followed => match changed {
                    Ok(()) => self.reconcile().await,
                    Err(_) => is_followed = false,
                },
                () = sleep_until(self.look_again.unwrap_or_else(Instant::now)), if self.look_again.is_some() => {
                    self.reconcile().await;
                }
                () = sleep_until(self.look_at_placed.unwrap_or_else(Instant::now)), if self.look_at_placed.is_some() => {
                    self.version += 1;
                }
                () = stopping.cancelled() => break,
            }
            // What waits already becomes part of the same inventory.
            while let Ok(command) = inbox.try_recv() {
                self.handle_command(command).await;
            }
            self.publish(false);
        }
        self.leaving.cancel();
        self.handle.set_attached(HashMap::new());
        for local in self.locals.values() {
            local.cancel.cancel();
        }
        // The supervisors report to the end; nobody needs it any more, but nobody may wait for room either.
        while !stopping.is_cancelled() || self.handle.tasks().len() > 1 {
            tokio::select! {
                command = inbox.recv() => if command.is_none() { break },
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }

    async fn handle_command(&mut self, command: Command) {
        match command {
            // Whoever asked may have gone; the change stands.
            Command::Reconcile { reply } => {
                self.reconcile().await;
                let _ = reply.send(());
            }
            Command::Forget { id, reply } => drop(reply.send(self.forget(&id).await)),
            Command::Migrated(id) => {
                if let Err(error) = self.forget(&id).await {
                    tracing::warn!(server = %id, "is in the registry, and in the store still: {error}");
                }
            }
            Command::Placed { id, claim } => self.placed(&id, *claim),
            Command::Ended { id, generation } => self.ended(&id, generation),
            Command::HandOver { within, reply } => {
                self.hand_over(within);
                let _ = reply.send(());
            }
            Command::Report { id, report } => self.report(&id, *report),
            Command::EraFound { id, generation, era } => self.era_found(id, generation, era).await,
            Command::PeerState(state) => self.peer_state(*state),
            Command::PeerGone(node) => {
                self.presence.remove(&node);
                if self.peers.remove(&node).is_some() {
                    tracing::info!(peer = %node, "node is gone");
                    self.version += 1;
                }
            }
            Command::Presence(nodes) => {
                self.presence = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
                self.version += 1;
            }
            Command::Drain => self.version += 1,
        }
    }

    /// Forgets what the store has of a server. What runs is another question: see [`Owner::reconcile`].
    async fn forget(&mut self, id: &ServerId) -> Result<bool> {
        let is_stored = self.parts.store.get(&books::server_key(id)).map_err(books::failed)?.is_some();
        if is_stored {
            self.parts.store.apply(vec![Write::Delete { key: books::server_key(id) }]).await.map_err(books::failed)?;
        }
        let was_kept = self.desired.forget_kept(id);
        self.reconcile().await;
        Ok(is_stored || was_kept)
    }

    /// Takes what a supervisor says. Facts and listing of the last connection stay until there are newer ones.
    fn report(&mut self, id: &ServerId, report: Report) {
        let Some(local) = self.locals.get_mut(id).filter(|local| local.report.generation == report.generation) else {
            return;
        };
        let last = std::mem::replace(&mut local.report, report);
        local.report.facts = local.report.facts.take().or(last.facts);
        local.report.listing = local.report.listing.take().or(last.listing);
        self.local_changed();
    }

    async fn era_found(&mut self, id: ServerId, generation: u64, era: Era) {
        let Some(local) = self.locals.get(&id).filter(|local| local.report.generation == generation) else { return };
        let known = books::KnownEra::new(local.target.clone(), era);
        if self.eras.get(&id) != Some(&known) {
            let write = books::put_era(&id, &known);
            self.eras.insert(id, known);
            if let Err(error) = self.parts.store.apply(vec![write]).await {
                tracing::warn!("cannot remember the era of a server: {error}");
            }
        }
    }

    fn peer_state(&mut self, state: NodeState) {
        let NodeState { node, servers, .. } = state;
        // A node has the parts of the broker itself, or was told to be without them. An older one may run something else by their names.
        let is_foreign = |id: &ServerId| !self.config.reserved.contains(id);
        let servers = servers.into_iter().map(|server| Arc::new(server.into_entry(&node)));
        let servers = servers.filter(|server| server.source != Source::Builtin && is_foreign(&server.id)).collect();
        self.peers.insert(node, servers);
        self.version += 1;
    }

    /// What can be called changes at once, also when a server is removed or replaced; the inventory follows.
    fn local_changed(&mut self) {
        let attached = self.locals.iter().filter_map(|(id, local)| Some((id.clone(), local.report.attached.clone()?)));
        self.handle.set_attached(attached.collect());
        self.beat.version += 1;
        self.version += 1;
    }

    /// Publishes a new inventory when something changed.
    fn publish(&mut self, first: bool) {
        if self.publisher.borrow().version == self.version && !first {
            return;
        }
        let locals: Vec<Arc<ServerEntry>> =
            self.locals.iter().map(|(id, local)| Arc::new(self.entry(id, local))).collect();
        if *self.beats.borrow() != self.beat || first {
            let servers = locals.iter().map(|entry| WireServer::from(&**entry)).collect();
            let state = NodeState { node: self.config.node.clone(), beat: self.beat, servers };
            match state.into_bytes(MAX_STATE_BYTES) {
                Ok(bytes) => self.handle.set_local_state(bytes),
                Err(error) => tracing::error!("cannot write the state of this node: {error}"),
            }
        }
        let mut servers = locals;
        servers.extend(self.peers.values().flatten().map(|entry| self.with_load(entry)));
        let wanted = self.desired.wanted(|id| self.unfit.get(id).cloned());
        let servers = self.last_placed.shown(servers, &wanted, Instant::now());
        self.look_at_placed = self.last_placed.next_end(&wanted);
        let nodes = self.nodes();
        self.publisher.send_replace(Arc::new(Inventory { version: self.version, servers, nodes, wanted }));
        // The peers are told after the inventory is out, so that what they ask for is never older than what they were told.
        self.beats.send_if_modified(|beat| {
            let changed = *beat != self.beat;
            *beat = self.beat;
            changed
        });
    }

    /// An entry of a peer, with what its node said of its load since.
    fn with_load(&self, entry: &Arc<ServerEntry>) -> Arc<ServerEntry> {
        let load = self.handle.load(&entry.node, &entry.id);
        if entry.load == load { entry.clone() } else { Arc::new(ServerEntry { load, ..ServerEntry::clone(entry) }) }
    }

    /// This node and those whose servers are known, ordered by id.
    fn nodes(&self) -> Vec<NodeInfo> {
        use spanwire_model::NodeState::{Alive, Draining};
        let this = NodeInfo {
            id: self.config.node.clone(),
            state: if *self.handle.draining().borrow() { Draining } else { Alive },
            version: self.config.version.clone(),
            silent: std::time::Duration::ZERO,
        };
        let others = self.peers.keys().filter_map(|id| self.presence.get(id).cloned());
        let mut nodes: Vec<NodeInfo> = std::iter::once(this).chain(others).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    fn entry(&self, id: &ServerId, local: &Local) -> ServerEntry {
        ServerEntry {
            id: id.clone(),
            node: self.config.node.clone(),
            local: true,
            transport: local.transport.clone(),
            facts: local.report.facts.clone(),
            listing: local.report.listing.clone().unwrap_or_else(|| Arc::new(Listing::default())),
            health: local.report.health.clone(),
            call_timeout: local.want.spec.call_timeout_ms.map(Duration::from_millis),
            source: local.want.source,
            placed: local.placed,
            load: local.report.attached.as_ref().map_or(0, |attached| attached.load()),
        }
    }
}
