//! A server that goes from one node to another one, and the calls that come meanwhile.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use spanwire_model::{
    Error, ErrorKind, Holding, Holdings, Lease, Leases, NodeId, Placement, Result, Retry, ServerSpec, TraceContext,
};
use spanwire_telemetry::{SpanKind, names};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    script::{PATIENCE, Script},
    world::{Node, Setup, World, running},
};

/// Leases that never end by themselves, for all nodes of a test.
struct Office {
    holdings: watch::Sender<Arc<Holdings>>,
    token: AtomicU64,
}

/// One node's leases, which it gets only while it may.
struct Desk {
    office: Arc<Office>,
    node: NodeId,
    may: AtomicBool,
}

impl Office {
    fn new() -> Arc<Self> {
        Arc::new(Self { holdings: watch::channel(Arc::new(BTreeMap::new())).0, token: AtomicU64::new(1) })
    }

    fn desk(self: &Arc<Self>, node: &str, may: bool) -> Arc<Desk> {
        Arc::new(Desk { office: self.clone(), node: node.parse().unwrap(), may: AtomicBool::new(may) })
    }
}

#[async_trait]
impl Leases for Desk {
    async fn acquire(&self, name: &str, _: Duration) -> Result<Option<Lease>> {
        if !self.may.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let name: Arc<str> = name.into();
        let token = self.office.token.fetch_add(1, Ordering::SeqCst);
        let is_mine = self.office.holdings.send_if_modified(|holdings| {
            let is_free = !holdings.contains_key(&name);
            if is_free {
                Arc::make_mut(holdings).insert(name.clone(), Holding { node: self.node.clone(), token });
            }
            is_free
        });
        if !is_mine {
            return Ok(None);
        }
        let (lease, keeper) = Lease::new(name.clone(), token, Instant::now() + Duration::from_secs(3600));
        let office = self.office.clone();
        tokio::spawn(async move {
            keeper.released.cancelled().await;
            office.holdings.send_modify(|holdings| drop(Arc::make_mut(holdings).remove(&name)));
            keeper.done.cancel();
        });
        Ok(Some(lease))
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        self.office.holdings.subscribe()
    }
}

/// Two nodes that may run `fs`, one at a time; it begins on `b`.
struct Two {
    a: Node,
    b: Node,
    here: Arc<Script>,
    there: Arc<Script>,
    /// Whether `a` may take it over.
    desk: Arc<Desk>,
}

impl Two {
    async fn start() -> Self {
        let (world, office) = (World::new(), Office::new());
        let (here, there) = (Script::new("fs", &["hang", "echo"]), Script::new("fs", &["hang", "echo"]));
        let setup = |script: &Arc<Script>, desk: &Arc<Desk>| {
            let leases: Arc<dyn Leases> = desk.clone();
            Setup {
                specs: vec![ServerSpec { placement: Placement::Any, ..script.spec() }],
                leases: Some(leases),
                ..Setup::of(&[script])
            }
        };
        let (desk, other) = (office.desk("a", false), office.desk("b", true));
        let (a, b) = (world.start("a", setup(&here, &desk)).await, world.start("b", setup(&there, &other)).await);
        b.ready("fs", "b").await;
        a.ready("fs", "b").await;
        a.tool("fs__echo").ok().await;
        assert_eq!(there.calls_of("echo"), 1);
        Self { a, b, here, there, desk }
    }

    /// `b` gives it back, and nobody takes it.
    async fn between_nodes(&self) {
        self.b.registry.hand_over(PATIENCE).await;
        let down = self.a.until("between nodes", |inventory| {
            inventory.servers.iter().all(|entry| entry.id.as_str() != "fs" || !entry.health.state.is_callable())
        });
        self.a.catalog(down.await.version).await;
    }

    async fn stop(self) {
        self.a.stop().await;
        self.b.stop().await;
    }
}

#[tokio::test]
async fn a_call_is_held_while_its_server_is_between_two_nodes() {
    let two = Two::start().await;
    two.between_nodes().await;
    let mut request = two.a.tool("fs__echo");
    request.call.parent = Some(TraceContext { trace_id: 77, span_id: 7, sampled: true, tracestate: None });
    let held = running(request.send());
    let look = async {
        while !two.a.telemetry.metrics().encode_openmetrics().contains("\nspanwire_calls_held 1\n") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, look).await.expect("the call is not held");
    assert!(!held.is_finished());
    two.desk.may.store(true, Ordering::SeqCst);
    timeout(PATIENCE, held).await.unwrap().unwrap().unwrap();
    assert_eq!((two.here.calls_of("echo"), two.there.calls_of("echo")), (1, 1));
    let spans = two.a.telemetry.ring().trace(77).unwrap();
    let route = spans.iter().find(|span| span.kind == SpanKind::Internal).unwrap();
    assert!(route.attribute(names::SPANWIRE_HELD_MS).is_some(), "{route:#?}");
    assert!(two.a.telemetry.metrics().encode_openmetrics().contains("\nspanwire_calls_held 0\n"));
    two.stop().await;
}

#[tokio::test]
async fn a_call_is_held_no_longer_than_its_budget() {
    let two = Two::start().await;
    two.between_nodes().await;
    let error = two.a.tool("fs__echo").within(Duration::from_millis(50)).outcome().await.unwrap_err();
    assert_eq!((error.kind, error.retry()), (ErrorKind::Unavailable, Retry::Safe), "{error}");
    assert_eq!((two.here.calls_of("echo"), two.there.calls_of("echo")), (0, 1));
    two.stop().await;
}

#[tokio::test]
async fn calls_that_run_end_before_their_server_moves() {
    let two = Two::start().await;
    let hanging = running(two.a.tool("fs__hang").send());
    two.there.until("called", |seen| seen.calls.len() == 2).await;
    let handing_over = {
        let registry = two.b.registry.clone();
        tokio::spawn(async move { registry.hand_over(PATIENCE).await })
    };
    two.b.entry("fs", "b", |entry| !entry.health.state.is_callable()).await;
    // A call that comes now waits for the next node, the one that runs goes on.
    two.desk.may.store(true, Ordering::SeqCst);
    let held = running(two.a.tool("fs__echo").send());
    assert!(!hanging.is_finished() && two.there.seen.borrow().closed == 0);
    hanging.abort();
    timeout(PATIENCE, handing_over).await.unwrap().unwrap();
    timeout(PATIENCE, held).await.unwrap().unwrap().unwrap();
    assert_eq!((two.here.calls_of("echo"), two.there.calls_of("echo")), (1, 1));
    two.stop().await;
}

#[tokio::test]
async fn a_held_call_tries_its_replica_again_though_no_inventory_changes() {
    let two = Two::start().await;
    two.there.fails(Error::new(ErrorKind::Unavailable, "out of reach"));
    let held = running(two.a.tool("fs__echo").within(PATIENCE).send());
    // More often than a call that is not held is tried.
    two.there.until("tried again", |seen| seen.calls.len() > 7).await;
    assert!(!held.is_finished());
    two.there.fails(None);
    timeout(PATIENCE, held).await.unwrap().unwrap().unwrap();
    assert_eq!(two.here.calls_of("echo"), 0);
    two.stop().await;
}
