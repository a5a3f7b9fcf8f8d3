//! The task that owns the state of the registry.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use spanwire_mcp::Era;
use spanwire_model::{
    Error, ErrorKind, Health, Inventory, Listing, NodeId, NodeInfo, Result, ServerEntry, ServerId, ServerSpec,
    ServerState, Source, Target, Write,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Handle, Parts, peers,
    queue::Gate,
    state::{Beat, NodeState, WireServer},
    store::books,
    supervisor::{Lists, Report, Supervisor},
};

/// Longest state that the peers are told: half of what one message between nodes may have.
const MAX_STATE_BYTES: usize = 8 * 1024 * 1024;

/// What the owner is asked and told.
pub(crate) enum Command {
    Add {
        spec: Box<ServerSpec>,
        replace: bool,
        reply: oneshot::Sender<Result<()>>,
    },
    Remove {
        id: ServerId,
        reply: oneshot::Sender<Result<bool>>,
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
    target: String,
    transport: Arc<str>,
    call_timeout_ms: Option<u64>,
    report: Report,
    cancel: CancellationToken,
}

pub(crate) struct Owner {
    config: Arc<Config>,
    parts: Parts,
    handle: Handle,
    publisher: watch::Sender<Arc<Inventory>>,
    beats: watch::Sender<Beat>,
    locals: BTreeMap<ServerId, Local>,
    peers: BTreeMap<NodeId, Vec<Arc<ServerEntry>>>,
    presence: BTreeMap<NodeId, NodeInfo>,
    eras: HashMap<ServerId, books::KnownEra>,
    generation: u64,
    beat: Beat,
    version: u64,
}

impl Owner {
    pub(crate) fn new(config: Config, parts: Parts, handle: Handle, publisher: watch::Sender<Arc<Inventory>>) -> Self {
        let beat = Beat { incarnation: uuid::Uuid::now_v7().as_u64_pair().1, version: 1 };
        Self {
            config: Arc::new(config),
            parts,
            handle,
            publisher,
            beats: watch::channel(beat).0,
            locals: BTreeMap::new(),
            peers: BTreeMap::new(),
            presence: BTreeMap::new(),
            eras: HashMap::new(),
            generation: 0,
            beat,
            version: 0,
        }
    }

    pub(crate) async fn start(mut self, inbox: mpsc::Receiver<Command>, configured: Vec<ServerSpec>) -> Result<()> {
        self.eras = books::eras(&*self.parts.store)?;
        for spec in configured {
            self.supervise(spec);
        }
        for stored in books::servers(&*self.parts.store)? {
            if self.locals.contains_key(&stored.id) {
                tracing::warn!(server = %stored.id, "the configuration names a server that was added before: the configuration wins");
                continue;
            }
            match (self.parts.resolve)(&stored) {
                Ok(spec) => self.supervise(spec),
                Err(error) => tracing::error!(server = %stored.id, "a stored server cannot be started: {error}"),
            }
        }
        self.publish(true);
        peers::start(self.config.clone(), self.parts.backbone.clone(), self.handle.clone(), self.beats.subscribe())
            .await?;
        let tasks = self.handle.tasks().clone();
        tasks.spawn(self.run(inbox));
        Ok(())
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let stopping = self.handle.stopping().clone();
        loop {
            let command = tokio::select! {
                command = inbox.recv() => command,
                () = stopping.cancelled() => break,
            };
            match command {
                None => break,
                Some(command) => self.handle_command(command).await,
            }
            // What waits already becomes part of the same inventory.
            while let Ok(command) = inbox.try_recv() {
                self.handle_command(command).await;
            }
            self.publish(false);
        }
        self.handle.set_attached(HashMap::new());
        for local in self.locals.values() {
            local.cancel.cancel();
        }
        // The supervisors report to the end; nobody needs it any more, but nobody may wait for room either.
        while !stopping.is_cancelled() || self.handle.tasks().len() > 1 {
            tokio::select! {
                command = inbox.recv() => if command.is_none() { break },
                () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            }
        }
    }

    async fn handle_command(&mut self, command: Command) {
        match command {
            // Whoever asked may have gone; the change stands.
            Command::Add { spec, replace, reply } => drop(reply.send(self.add(*spec, replace).await)),
            Command::Remove { id, reply } => drop(reply.send(self.remove(&id).await)),
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

    async fn add(&mut self, spec: ServerSpec, replace: bool) -> Result<()> {
        if self.locals.contains_key(&spec.id) && !replace {
            let text = format!("server \"{}\" exists already: remove it first, or replace it", spec.id);
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        let resolved = (self.parts.resolve)(&spec)?;
        self.parts.store.apply(vec![books::put_server(&spec)?]).await.map_err(books::failed)?;
        self.supervise(resolved);
        Ok(())
    }

    async fn remove(&mut self, id: &ServerId) -> Result<bool> {
        let writes = vec![Write::Delete { key: books::server_key(id) }, Write::Delete { key: books::era_key(id) }];
        let stored = self.parts.store.get(&books::server_key(id)).map_err(books::failed)?.is_some();
        self.parts.store.apply(writes).await.map_err(books::failed)?;
        self.eras.remove(id);
        // One that could not be started, for want of a variable, is only in the store.
        let Some(local) = self.locals.remove(id) else { return Ok(stored) };
        local.cancel.cancel();
        self.local_changed();
        Ok(true)
    }

    /// Starts the supervisor of a server, in place of an earlier one.
    fn supervise(&mut self, spec: ServerSpec) {
        self.generation += 1;
        let cancel = self.handle.stopping().child_token();
        let target = books::target_digest(&spec);
        let known_era = self.eras.get(&spec.id).filter(|known| known.target == target).map(|known| known.era());
        let max_in_flight = spec.max_in_flight.unwrap_or(self.config.max_in_flight);
        let transport: Arc<str> = match &spec.target {
            Target::Stdio(_) => "stdio".into(),
            Target::Http(_) => "http".into(),
            Target::Builtin(_) => "builtin".into(),
        };
        let local = Local {
            target,
            transport: transport.clone(),
            call_timeout_ms: spec.call_timeout_ms,
            report: Report {
                generation: self.generation,
                health: Health { state: ServerState::Starting, detail: None, restarts: 0 },
                facts: None,
                listing: None,
                attached: None,
            },
            cancel: cancel.clone(),
        };
        if let Some(replaced) = self.locals.insert(spec.id.clone(), local) {
            replaced.cancel.cancel();
        }
        let supervisor = Supervisor {
            generation: self.generation,
            connector: self.parts.connector.clone(),
            config: self.config.clone(),
            handle: self.handle.clone(),
            cancel,
            known_era,
            gate: Arc::new(Gate::new(max_in_flight, self.config.max_waiting)),
            transport,
            lists: Lists::default(),
            spec,
        };
        self.handle.tasks().spawn(supervisor.run());
        self.local_changed();
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
        let servers = servers.into_iter().map(|server| Arc::new(server.into_entry(&node))).collect();
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
        servers.sort_by(|a, b| (&a.id, &a.node).cmp(&(&b.id, &b.node)));
        let nodes = self.nodes();
        self.publisher.send_replace(Arc::new(Inventory { version: self.version, servers, nodes }));
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
            call_timeout: local.call_timeout_ms.map(std::time::Duration::from_millis),
            source: Source::Config,
            placed: None,
            load: local.report.attached.as_ref().map_or(0, |attached| attached.load()),
        }
    }
}
