//! Nodes in one process.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use spanwire_backbone::memory::{Config as HubConfig, Hub};
use spanwire_ledger::{LocalLedger, MemoryLeases, SledStore};
use spanwire_mcp::{Json, Method, Revision};
use spanwire_model::{
    Address, Backbone, Book, BusHandler, BusMessage, BusReply, BusRequest, Call, ClientFacts, Dispatch, EdgeTransport,
    Event, Frame, Inventory, Leases, Ledger, Machine, Outcome, Principal, Reply, Result, ServeGuard, ServeOn,
    ServerEntry, ServerSpec, Store, Tenant, Topic,
};
use spanwire_policy::{Policy, PrincipalConfig};
use spanwire_registry::{Handle, Resolve, store::MemoryStore};
use spanwire_router::Router;
use spanwire_telemetry::Telemetry;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::script::{PATIENCE, Script, Scripts, json};

/// One backbone and whoever is on it.
pub(super) struct World {
    pub(super) hub: Hub,
}

/// How a node differs from the others.
pub(super) struct Setup {
    pub(super) scripts: Vec<Arc<Script>>,
    pub(super) specs: Vec<ServerSpec>,
    pub(super) policy: Policy,
    pub(super) store: Arc<dyn Store>,
    /// That of an earlier node, where this one goes on with it.
    pub(super) ledger: Option<Arc<dyn Ledger>>,
    /// Leases that nodes share; some of the node's own where that is `None`.
    pub(super) leases: Option<Arc<dyn Leases>>,
    pub(super) resolve: Resolve,
    pub(super) registry: fn(&mut spanwire_registry::Config),
    pub(super) router: fn(&mut spanwire_router::Config),
}

impl Setup {
    /// A node whose configuration names these servers.
    pub(super) fn of(scripts: &[&Arc<Script>]) -> Self {
        Self {
            scripts: scripts.iter().map(|script| Arc::clone(script)).collect(),
            specs: scripts.iter().map(|script| script.spec()).collect(),
            policy: Policy::open(),
            store: Arc::new(MemoryStore::default()),
            ledger: None,
            leases: None,
            resolve: Arc::new(|spec| Ok(spec.clone())),
            registry: |_| {},
            router: |_| {},
        }
    }

    /// A node whose servers are added later.
    pub(super) fn without_servers(scripts: &[&Arc<Script>]) -> Self {
        Self { specs: Vec::new(), ..Self::of(scripts) }
    }
}

/// A running node.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) registry: Handle,
    pub(super) router: Router,
    pub(super) telemetry: Telemetry,
    pub(super) bus: Arc<CountingBus>,
    _folder: tempfile::TempDir,
}

pub(super) async fn ledger_in(folder: &std::path::Path) -> Arc<dyn Ledger> {
    let machine: Arc<dyn Machine> = Arc::new(spanwire_registry::Machine);
    let store = SledStore::open(folder).unwrap();
    let telemetry = Telemetry::disabled("ledger".parse().unwrap());
    Arc::new(LocalLedger::open(store, [(Book::Registry, machine)].into(), telemetry).await.unwrap())
}

impl World {
    pub(super) fn new() -> Self {
        Self { hub: Hub::new(HubConfig::default()) }
    }

    pub(super) fn bus(&self, id: &str) -> Arc<CountingBus> {
        let inner = self.hub.node(id.parse().unwrap(), Tenant::default());
        let connected = AtomicBool::new(true);
        Arc::new(CountingBus {
            inner,
            requests: AtomicUsize::new(0),
            questions: watch::channel(0).0,
            serving: watch::channel(BTreeSet::new()).0,
            connected,
        })
    }

    /// A node. Heartbeats are an hour apart, so that nothing here can wait for one.
    pub(super) async fn start(&self, id: &str, setup: Setup) -> Node {
        self.start_on(self.bus(id), id, setup).await
    }

    pub(super) async fn start_on(&self, bus: Arc<CountingBus>, id: &str, setup: Setup) -> Node {
        let mut config = spanwire_registry::Config::new(id.parse().unwrap());
        config.heartbeat = Duration::from_secs(3600);
        config.backoff_min = Duration::from_millis(5);
        config.backoff_max = Duration::from_millis(20);
        (setup.registry)(&mut config);
        let backbone: Arc<dyn Backbone> = bus.clone();
        let connector = Arc::new(Scripts(setup.scripts));
        let folder = tempfile::tempdir().unwrap();
        let ledger = match setup.ledger {
            Some(ledger) => ledger,
            None => ledger_in(folder.path()).await,
        };
        let parts = spanwire_registry::Parts {
            connector,
            store: setup.store,
            backbone: backbone.clone(),
            resolve: setup.resolve,
            ledger,
            leases: setup.leases.unwrap_or_else(|| Arc::new(MemoryLeases::new(id.parse().unwrap()))),
        };
        let registry = spanwire_registry::start(config, parts, setup.specs).await.unwrap();
        let telemetry = Telemetry::disabled(id.parse().unwrap());
        let mut config = spanwire_router::Config {
            node: id.parse().unwrap(),
            catalog: spanwire_catalog::Config::default(),
            max_in_flight: 100,
            max_subscriptions: 10,
            seal_secret: id.as_bytes().to_vec(),
            input_timeout: Duration::from_secs(600),
            version: "0".into(),
        };
        (setup.router)(&mut config);
        let parts = spanwire_router::Parts {
            policy: setup.policy,
            registry: registry.clone(),
            backbone,
            telemetry: telemetry.clone(),
        };
        let router = Router::start(config, parts).await.unwrap();
        Node { id: id.into(), registry, router, telemetry, bus, _folder: folder }
    }
}

/// A call in preparation: anonymous, through the federated view, with plenty of time.
pub(super) struct Request<'a> {
    node: &'a Node,
    pub(super) call: Call,
}

impl Node {
    pub(super) fn request(&self, method: &str, params: impl Into<String>) -> Request<'_> {
        let call = Call {
            id: uuid::Uuid::now_v7(),
            principal: Principal::anonymous(),
            view: None,
            method: Method::from(method),
            params: json(params),
            deadline: Instant::now() + Duration::from_secs(60),
            parent: None,
            client: ClientFacts::of(EdgeTransport::Http, Revision::CANONICAL),
        };
        Request { node: self, call }
    }

    pub(super) fn tool(&self, name: &str) -> Request<'_> {
        self.request("tools/call", format!(r#"{{"name":"{name}","arguments":{{}}}}"#))
    }

    /// Waits for an inventory.
    pub(super) async fn until(&self, what: &str, mut wanted: impl FnMut(&Inventory) -> bool) -> Arc<Inventory> {
        let mut inventory = self.registry.watch();
        let found = timeout(PATIENCE, inventory.wait_for(|inventory| wanted(inventory))).await;
        let found =
            found.unwrap_or_else(|_| panic!("node {}: not {what} in time: {:?}", self.id, self.registry.inventory()));
        found.unwrap().clone()
    }

    /// Waits for one server of one node, in the inventory, in the catalog, and on the bus when it is this node's.
    pub(super) async fn entry(
        &self,
        server: &str,
        node: &str,
        mut wanted: impl FnMut(&ServerEntry) -> bool,
    ) -> Arc<ServerEntry> {
        let mut is_it =
            |entry: &ServerEntry| entry.id.as_str() == server && entry.node.as_str() == node && wanted(entry);
        let inventory = self.until(server, |inventory| inventory.servers.iter().any(|entry| is_it(entry))).await;
        self.catalog(inventory.version).await;
        let entry = inventory.servers.iter().find(|entry| is_it(entry)).unwrap().clone();
        if entry.local && entry.health.state.is_callable() {
            let mut serving = self.bus.serving.subscribe();
            timeout(PATIENCE, serving.wait_for(|servers| servers.contains(server))).await.unwrap().unwrap();
        }
        entry
    }

    pub(super) async fn ready(&self, server: &str, node: &str) -> Arc<ServerEntry> {
        self.entry(server, node, |entry| entry.health.state.is_callable()).await
    }

    pub(super) async fn catalog(&self, version: u64) {
        timeout(PATIENCE, self.router.watch().wait_for(|now| *now >= version)).await.unwrap().unwrap();
    }

    pub(super) async fn stop(&self) {
        self.router.shutdown(PATIENCE).await;
        self.registry.shutdown(PATIENCE).await;
        self.bus.close().await;
    }
}

impl Request<'_> {
    pub(super) fn by(mut self, principal: &str) -> Self {
        self.call.principal = Principal::new(principal);
        self
    }

    pub(super) fn through(mut self, view: &str) -> Self {
        self.call.view = Some(view.into());
        self
    }

    pub(super) fn within(mut self, budget: Duration) -> Self {
        self.call.deadline = Instant::now() + budget;
        self
    }

    pub(super) fn send(self) -> Reply {
        self.node.router.dispatch(self.call)
    }

    pub(super) async fn outcome(self) -> Outcome {
        timeout(PATIENCE, self.send().outcome()).await.expect("no outcome in time")
    }

    /// The result as text.
    pub(super) async fn ok(self) -> String {
        self.outcome().await.unwrap().as_str().to_owned()
    }
}

/// The next event of a reply.
pub(super) async fn next(reply: &mut Reply) -> Event {
    timeout(PATIENCE, reply.next()).await.expect("no event in time").expect("no event")
}

/// A future that is driven while something else is awaited.
pub(super) fn running(mut reply: Reply) -> tokio::task::JoinHandle<Outcome> {
    tokio::spawn(async move {
        loop {
            if let Event::Done(outcome) = reply.next().await.unwrap() {
                return outcome;
            }
        }
    })
}

pub(super) fn names(list: &str, member: &str, key: &str) -> Vec<String> {
    let list = Json::from_trusted(list.to_owned());
    let names = list.get(member).unwrap();
    names.elements().map(|entry| entry.get(key).unwrap().read().unwrap()).collect()
}

/// A principal who may use these tools and everything else of `fs`.
pub(super) fn only_tools(name: &str, tools: &[&str]) -> Policy {
    Policy::new(&[PrincipalConfig {
        name: name.into(),
        tokens: Vec::new(),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        prompts: vec!["fs__*".into()],
        resources: vec!["fs+*".into()],
        views: vec!["*".into()],
    }])
}

/// A backbone that counts what is asked of it, and can play dead.
pub(super) struct CountingBus {
    inner: Arc<spanwire_backbone::memory::Memory>,
    pub(super) requests: AtomicUsize,
    /// How often another node was asked for its servers.
    pub(super) questions: watch::Sender<usize>,
    pub(super) serving: watch::Sender<BTreeSet<String>>,
    pub(super) connected: AtomicBool,
}

#[async_trait]
impl Backbone for CountingBus {
    fn request(&self, to: Address, request: BusRequest) -> BusReply {
        match request.server {
            Some(_) => drop(self.requests.fetch_add(1, Ordering::SeqCst)),
            None => self.questions.send_modify(|count| *count += 1),
        }
        self.inner.request(to, request)
    }

    async fn serve(&self, on: ServeOn, handler: Arc<dyn BusHandler>) -> Result<ServeGuard> {
        let name = match &on {
            ServeOn::Server(server) => server.to_string(),
            ServeOn::Node => String::new(),
        };
        let guard = self.inner.serve(on, handler).await?;
        self.serving.send_if_modified(|serving| serving.insert(name.clone()));
        let serving = self.serving.clone();
        Ok(ServeGuard::new(move || {
            serving.send_if_modified(|serving| serving.remove(&name));
            drop(guard);
        }))
    }

    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<()> {
        self.inner.publish(topic, payload).await
    }

    async fn subscribe(&self, kind: &str) -> Result<BoxStream<'static, BusMessage>> {
        self.inner.subscribe(kind).await
    }

    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::SeqCst)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn in_flight(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.inner.in_flight()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// A node that is none: it answers the question for its servers with whatever it is told to.
pub(super) struct Impostor {
    pub(super) bus: Arc<CountingBus>,
    pub(super) asked: watch::Sender<usize>,
    pub(super) may_answer: Arc<Semaphore>,
    _guard: ServeGuard,
}

struct Says {
    answer: String,
    asked: watch::Sender<usize>,
    may_answer: Arc<Semaphore>,
}

impl BusHandler for Says {
    fn handle(&self, _: BusRequest) -> BoxStream<'static, Frame> {
        self.asked.send_modify(|asked| *asked += 1);
        let (payload, may_answer) = (Bytes::from(self.answer.clone()), self.may_answer.clone());
        futures::stream::once(async move {
            may_answer.acquire().await.unwrap().forget();
            Frame::End { payload, elapsed: Duration::ZERO }
        })
        .boxed()
    }
}

impl World {
    pub(super) async fn impostor(&self, id: &str, answer: &str) -> Impostor {
        let impostor = self.slow_impostor(id, answer).await;
        impostor.may_answer.add_permits(1000);
        impostor
    }

    /// One that answers as often as it may.
    pub(super) async fn slow_impostor(&self, id: &str, answer: &str) -> Impostor {
        let (bus, asked, may_answer) = (self.bus(id), watch::channel(0).0, Arc::new(Semaphore::new(0)));
        let says = Says { answer: answer.into(), asked: asked.clone(), may_answer: may_answer.clone() };
        let guard = bus.serve(ServeOn::Node, Arc::new(says)).await.unwrap();
        Impostor { bus, asked, may_answer, _guard: guard }
    }
}

impl Impostor {
    /// Says something where the nodes speak.
    pub(super) async fn say(&self, id: &str, word: &str) {
        let topic = Topic { kind: "node".into(), id: id.into(), what: "state".into() };
        self.bus.publish(&topic, Bytes::from(word.to_owned())).await.unwrap();
    }
}
