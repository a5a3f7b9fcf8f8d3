//! Servers of the registry over several nodes, which share a log and leases in memory.

mod agents;
mod before;
mod history;
mod settling;
mod silent;

use std::sync::atomic::Ordering;

use spanwire_model::{NodeId, Placement, ServerId, ServerSpec, Source, StdioTarget, Store, Target, Wanted, Write};
use tokio::{sync::watch, time::timeout};

use super::{
    doubles::{Bucket, DeafBus, Log, NodeLedger, Seen, Servers},
    *,
};
use crate::store::MemoryStore;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    log: Arc<Log>,
    leases: Arc<Bucket>,
    seen: Arc<watch::Sender<Seen>>,
    bus: Arc<DeafBus>,
}

struct Node {
    handle: Handle,
    ledger: Arc<NodeLedger>,
}

impl Cluster {
    fn new() -> Self {
        let seen = Arc::new(watch::channel(Seen::default()).0);
        Self { log: Log::new(), leases: Bucket::new(), seen, bus: Arc::default() }
    }

    async fn start(&self, id: &str, configured: Vec<ServerSpec>) -> Node {
        self.start_with(id, configured, Arc::new(MemoryStore::default()), true).await
    }

    async fn start_with(
        &self,
        id: &str,
        configured: Vec<ServerSpec>,
        store: Arc<MemoryStore>,
        connected: bool,
    ) -> Node {
        self.start_as(id, |_| {}, configured, store, connected).await
    }

    async fn start_as(
        &self,
        id: &str,
        set: impl FnOnce(&mut Config),
        configured: Vec<ServerSpec>,
        store: Arc<MemoryStore>,
        connected: bool,
    ) -> Node {
        let node: NodeId = id.parse().unwrap();
        let ledger = self.log.node();
        ledger.connected.store(connected, Ordering::SeqCst);
        let parts = Parts {
            connector: Arc::new(Servers(self.seen.clone(), node.clone())),
            store,
            backbone: self.bus.clone(),
            resolve: Arc::new(resolve),
            ledger: ledger.clone(),
            leases: self.leases.node(&node),
        };
        let mut config = Config { heartbeat: Duration::from_secs(3600), ..Config::new(node) };
        set(&mut config);
        Node { handle: super::super::start(config, parts, configured).await.unwrap(), ledger }
    }

    async fn until(&self, what: &str, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        until(&mut self.seen.subscribe(), what, wanted).await
    }

    /// Waits until exactly these nodes run the server.
    async fn runs(&self, id: &str, nodes: &[&str]) -> Seen {
        let is_it = |seen: &Seen| {
            let running = seen.running.iter().filter(|(server, _)| server == id).map(|(_, node)| node.as_str());
            running.eq(nodes.iter().copied())
        };
        self.until(&format!("{id} on {nodes:?}"), is_it).await
    }
}

async fn until<T: Clone + std::fmt::Debug>(
    values: &mut watch::Receiver<T>,
    what: &str,
    wanted: impl FnMut(&T) -> bool,
) -> T {
    let found = timeout(PATIENCE, values.wait_for(wanted)).await.map(|found| found.map(|value| value.clone()));
    match found {
        Ok(found) => found.unwrap(),
        Err(_) => panic!("not {what} in time: {:?}", values.borrow().clone()),
    }
}

fn resolve(spec: &ServerSpec) -> Result<ServerSpec> {
    let mut spec = spec.clone();
    let Target::Stdio(target) = &mut spec.target else { panic!("{spec:?}") };
    if target.command.contains("${MISSING}") {
        return Err(Error::new(ErrorKind::InvalidParams, "variable \"MISSING\" is not set"));
    }
    target.command = target.command.replace("${V}", "resolved");
    Ok(spec)
}

fn spec(id: &str, command: &str) -> ServerSpec {
    ServerSpec {
        id: id.parse().unwrap(),
        target: Target::Stdio(StdioTarget { command: command.into(), ..StdioTarget::default() }),
        era: spanwire_model::EraChoice::Auto,
        max_in_flight: None,
        call_timeout_ms: None,
        placement: Placement::Here,
        replicas: 1,
    }
}

fn any(id: &str, replicas: u16) -> ServerSpec {
    ServerSpec { placement: Placement::Any, replicas, ..spec(id, "any") }
}

fn id(text: &str) -> ServerId {
    text.parse().unwrap()
}

impl Node {
    async fn until(&self, what: &str, wanted: impl FnMut(&Arc<Inventory>) -> bool) -> Arc<Inventory> {
        until(&mut self.handle.watch(), what, wanted).await
    }

    async fn ready(&self, server: &str) -> Arc<ServerEntry> {
        let is_ready = |entry: &&Arc<ServerEntry>| entry.id.as_str() == server && entry.health.state.is_callable();
        let inventory = self.until(server, |inventory| inventory.servers.iter().any(|entry| is_ready(&entry))).await;
        inventory.servers.iter().find(is_ready).unwrap().clone()
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.handle.inventory().wanted.clone()
    }

    async fn stop(self) {
        self.handle.shutdown(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_server_added_on_one_node_runs_on_the_one_it_is_for_and_comes_back() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a", vec![]).await, cluster.start("b", vec![]).await);
    a.handle.add(spec("fs", "${V}"), Some("b".parse().unwrap()), false).await.unwrap();
    a.handle.add(spec("git", "git"), None, false).await.unwrap();
    let seen = cluster.until("both run", |seen| seen.running.len() == 2).await;
    assert!(seen.running.contains(&("fs".into(), "b".into())) && seen.running.contains(&("git".into(), "a".into())));
    let mut commands = seen.commands;
    commands.sort();
    assert_eq!(commands, ["git", "resolved"]);
    let entry = b.ready("fs").await;
    assert_eq!((entry.source, entry.placed), (Source::Registry, None));
    for node in [&a, &b] {
        node.until("known", |inventory| inventory.wanted.len() == 2).await;
        let homes: Vec<_> = node.wanted().into_iter().map(|wanted| (wanted.id, wanted.home.unwrap())).collect();
        assert_eq!(homes, [(id("fs"), "b".parse().unwrap()), (id("git"), "a".parse().unwrap())]);
    }
    a.stop().await;
    b.stop().await;
    cluster.until("all stopped", |seen| seen.running.is_empty()).await;

    // What a node knows itself is enough to start.
    let b = cluster.start_with("b", vec![], Arc::default(), false).await;
    cluster.runs("fs", &["b"]).await;
    let error = b.handle.add(spec("more", "x"), None, false).await.unwrap_err();
    assert_eq!((error.kind, &*error.public), (ErrorKind::Unavailable, "the ledger is out of reach"));
    b.ledger.connected.store(true, Ordering::SeqCst);
    let a = cluster.start("a", vec![]).await;
    assert!(a.handle.remove(&id("fs")).await.unwrap(), "from any node");
    cluster.runs("fs", &[]).await;
    assert!(!a.handle.remove(&id("fs")).await.unwrap());
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn an_id_is_taken_once_for_all_nodes_unless_it_is_replaced() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a", vec![]).await, cluster.start("b", vec![]).await);
    a.handle.add(spec("fs", "first"), None, false).await.unwrap();
    let error = b.handle.add(spec("fs", "second"), None, false).await.unwrap_err();
    let text = "server \"fs\" exists already: remove it first, or replace it";
    assert_eq!((error.kind, &*error.public), (ErrorKind::Conflict, text));
    b.handle.add(spec("fs", "second"), None, true).await.unwrap();
    assert_eq!(cluster.runs("fs", &["b"]).await.commands, ["first", "second"]);
    // Replaced by the same: started again.
    b.handle.add(spec("fs", "second"), None, true).await.unwrap();
    cluster.until("again", |seen| seen.starts == 3 && seen.running.len() == 1).await;
    let error = b.handle.add(spec("bad", "${MISSING}"), None, false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams);
    // Another node's variables are its own: it says what it lacks.
    a.handle.add(spec("bad", "${MISSING}"), Some("b".parse().unwrap()), false).await.unwrap();
    let has_detail =
        |entry: &Arc<ServerEntry>| entry.health.detail.as_deref() == Some("variable \"MISSING\" is not set");
    b.until("down", |inventory| inventory.servers.iter().any(has_detail)).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn the_configuration_of_a_node_goes_before_the_registry_on_that_node_only() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a", vec![spec("fs", "mine")]).await, cluster.start("b", vec![]).await);
    let error = a.handle.add(spec("fs", "x"), None, true).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.public.contains("in the configuration of this node"), "{error}");
    let error = a.handle.remove(&id("fs")).await.unwrap_err();
    assert!(error.public.contains("remove it there"), "{error}");
    b.handle.add(any("fs", 1), None, false).await.unwrap();
    // On a its own one runs, without a lease; the placed one runs on b.
    cluster.runs("fs", &["a", "b"]).await;
    assert_eq!(a.ready("fs").await.source, Source::Config);
    let there = b.ready("fs").await;
    assert_eq!((there.source, there.placed.unwrap().replica), (Source::Registry, 0));
    a.stop().await;
    b.stop().await;
    // A node whose file has lost it follows the registry.
    let a = cluster.start("a", vec![]).await;
    cluster.runs("fs", &["a"]).await;
    assert_eq!(a.ready("fs").await.source, Source::Registry);
    a.stop().await;
}

#[tokio::test]
async fn what_an_older_version_kept_goes_into_the_registry_once() {
    let cluster = Cluster::new();
    let store = Arc::new(MemoryStore::default());
    let old = |spec: &ServerSpec| Write::Put {
        key: format!("server/{}", spec.id).into_bytes(),
        value: serde_json::to_vec(spec).unwrap(),
    };
    store.apply(vec![old(&spec("fs", "${V}")), old(&spec("taken", "old"))]).await.unwrap();
    let b = cluster.start("b", vec![]).await;
    b.handle.add(spec("taken", "new"), None, false).await.unwrap();

    // It runs before the ledger is in reach.
    let a = cluster.start_with("a", vec![], store.clone(), false).await;
    cluster.until("started", |seen| seen.running.contains(&("fs".into(), "a".into()))).await;
    assert_eq!(store.scan(b"server/").unwrap().len(), 2);
    a.ledger.connected.store(true, Ordering::SeqCst);
    a.until("registered", |inventory| inventory.wanted.iter().any(|wanted| wanted.id.as_str() == "fs")).await;
    let mut log = b.handle.watch();
    until(&mut log, "seen elsewhere", |inventory| inventory.wanted.len() == 2).await;
    let left = || store.scan(b"server/").unwrap().len();
    until_polled("forgotten", || left() == 1).await;
    // One that stands against another node's goes on running, and is not lost.
    cluster.runs("taken", &["a", "b"]).await;
    assert_eq!(cluster.seen.borrow().starts, 3, "nothing was started again");
    let entries = cluster.log.len();
    a.stop().await;
    let a = cluster.start_with("a", vec![], store.clone(), true).await;
    cluster.until("back", |seen| seen.running.len() == 3).await;
    assert!(a.handle.remove(&id("taken")).await.unwrap(), "both");
    cluster.runs("taken", &[]).await;
    assert_eq!(left(), 0);
    assert!(cluster.log.len() > entries);
    a.stop().await;
    b.stop().await;
}

async fn until_polled(what: &str, mut is_it: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_it() {
        assert!(Instant::now() < deadline, "not {what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_placed_server_runs_on_one_node_at_a_time_and_moves_when_its_lease_is_lost() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a", vec![]).await, cluster.start("b", vec![]).await);
    a.handle.add(any("fs", 1), None, false).await.unwrap();
    let first = cluster.until("placed", |seen| seen.running.len() == 1).await;
    let (_, holder) = first.running.first().unwrap().clone();
    let (here, there) = if holder == "a" { (&a, &b) } else { (&b, &a) };
    let placed = here.ready("fs").await.placed.unwrap();
    let attached = here.handle.attached(&id("fs")).unwrap();
    assert!(attached.may_run().is_ok());
    assert!(there.handle.attached(&id("fs")).is_none());

    cluster.leases.lose("place.fs.0");
    assert_eq!(attached.may_run().unwrap_err().kind, ErrorKind::Unavailable, "at once");
    cluster.until("started again", |seen| seen.starts == 2 && seen.running.len() == 1).await;
    let next = until_token(&cluster, placed.token).await;
    let node = if next.0 == "a" { &a } else { &b };
    assert_eq!(node.ready("fs").await.placed.unwrap().token, next.1);
    assert_eq!(attached.may_run().unwrap_err().kind, ErrorKind::Unavailable, "for good");

    a.handle.remove(&id("fs")).await.unwrap();
    cluster.runs("fs", &[]).await;
    until(&mut cluster.leases.watch(), "given back", |holdings| holdings.is_empty()).await;
    a.stop().await;
    b.stop().await;
}

/// Waits until somebody has the lease of the only replica with a larger token.
async fn until_token(cluster: &Cluster, token: u64) -> (String, u64) {
    let is_later = |holdings: &Arc<spanwire_model::Holdings>| {
        holdings.get("place.fs.0").is_some_and(|holding| holding.token > token)
    };
    let holdings = until(&mut cluster.leases.watch(), "taken again", is_later).await;
    let holding = holdings.get("place.fs.0").unwrap();
    (holding.node.to_string(), holding.token)
}

#[tokio::test]
async fn a_node_that_leaves_hands_its_servers_over_when_their_calls_have_ended() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![any("fs", 1)]).await;
    cluster.runs("fs", &["a"]).await;
    a.ready("fs").await;
    let b = cluster.start("b", vec![any("fs", 1)]).await;
    let attached = a.handle.attached(&id("fs")).unwrap();
    let slot = attached.slot(anyone()).await.unwrap();
    let handing = tokio::spawn({
        let handle = a.handle.clone();
        async move { handle.hand_over(PATIENCE).await }
    });
    a.until("withdrawn", |inventory| !inventory.servers.iter().any(|entry| entry.health.state.is_callable())).await;
    assert!(a.handle.attached(&id("fs")).is_none());
    assert_eq!(kind(poll!(pin!(attached.slot(anyone())))), Some(ErrorKind::Unavailable));
    assert_eq!(cluster.seen.borrow().running.len(), 1, "the call goes on");
    drop(slot);
    let seen = cluster.runs("fs", &["b"]).await;
    assert_eq!((seen.starts, seen.most), (2, 1), "never on both");
    timeout(PATIENCE, handing).await.unwrap().unwrap();
    assert_eq!(b.ready("fs").await.source, Source::Config);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn replicas_run_on_as_many_nodes_and_never_two_on_one() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![]).await;
    a.handle.add(any("fs", 2), None, false).await.unwrap();
    cluster.runs("fs", &["a"]).await;
    assert_eq!(a.wanted()[0].replicas, 2);
    let (b, c) = (cluster.start("b", vec![]).await, cluster.start("c", vec![]).await);
    let seen = cluster.until("two", |seen| seen.running.len() == 2).await;
    let (_, other) = seen.running.iter().find(|(_, node)| node != "a").unwrap().clone();
    let (other, idle) = if other == "b" { (b, c) } else { (c, b) };
    let mut replicas = [&a, &other].map(|node| node.handle.clone()).map(|handle| {
        let inventory = handle.inventory();
        inventory.servers.iter().find(|entry| entry.local).unwrap().placed.unwrap().replica
    });
    replicas.sort_unstable();
    assert_eq!(replicas, [0, 1]);
    // The third one takes the place of whoever leaves.
    other.stop().await;
    let seen = cluster.until("two again", |seen| seen.running.len() == 2 && seen.starts == 3).await;
    assert_eq!(seen.most, 2);
    // Fewer are wanted: the one that is too many stops, whichever node has it.
    a.handle.add(any("fs", 1), None, true).await.unwrap();
    cluster.until("one", |seen| seen.running.len() == 1 && seen.commands.len() > 3).await;
    until(&mut cluster.leases.watch(), "one lease", |holdings| holdings.keys().map(|key| &**key).eq(["place.fs.0"]))
        .await;
    a.stop().await;
    idle.stop().await;
}
