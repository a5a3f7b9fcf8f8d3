//! What only this crate can see; the registry as a whole is tested in `tests/tests/suite/routing`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
pub(crate) mod doubles;

use std::{future::Future, pin::pin, task::Poll};

use futures::poll;
use spanwire_mcp::Json;
use spanwire_model::{
    Error, ErrorKind, Health, Lease, Listing, ListingEntry, Reply, ServerEntry, ServerFacts, ServerState, Upstream,
    UpstreamCall,
};

use tokio::time::Instant;

use super::*;
use crate::{
    queue::Gate,
    state::{Beat, NodeState, WireServer},
};

struct Nobody;

#[async_trait::async_trait]
impl Upstream for Nobody {
    fn call(&self, _: UpstreamCall) -> Reply {
        Reply::ready(Err(Error::new(ErrorKind::Unavailable, "nobody")))
    }
    async fn close(&self) {}
}

fn attached(gate: &Arc<Gate>) -> Attached {
    Attached {
        id: "fs".parse().unwrap(),
        upstream: Arc::new(Nobody),
        facts: Arc::new(ServerFacts {
            revision: spanwire_mcp::Revision::CANONICAL,
            info: Json::empty_object(),
            capabilities: Json::empty_object(),
            instructions: None,
        }),
        transport: "stdio".into(),
        call_timeout: None,
        fence: None,
        is_one_that_moves: false,
        gate: gate.clone(),
    }
}

fn kind(outcome: Poll<Result<Slot>>) -> Option<ErrorKind> {
    let Poll::Ready(outcome) = outcome else { panic!("still waiting") };
    outcome.err().map(|error| error.kind)
}

fn anyone() -> &'static Arc<str> {
    static ANYONE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "anyone".into());
    &ANYONE
}

async fn is_waiting(slot: impl Future<Output = Result<Slot>>) -> bool {
    poll!(pin!(slot)).is_pending()
}

#[tokio::test]
async fn a_gate_holds_over_restarts_and_bounds_who_waits() {
    let gate = Arc::new(Gate::new(2, 1));
    let (before, after) = (attached(&gate), attached(&gate));
    let (first, second) = (before.slot(anyone()).await.unwrap(), after.slot(anyone()).await.unwrap());
    assert_eq!((before.in_flight(), after.in_flight()), (2, 2));
    let mut waiting = Box::pin(before.slot(anyone()));
    assert!(poll!(&mut waiting).is_pending());
    assert_eq!(kind(poll!(pin!(after.slot(anyone())))), Some(ErrorKind::Overloaded));
    drop(first);
    // Whoever waited comes first, and waits no more: there is room behind it.
    assert!(is_waiting(after.slot(anyone())).await);
    let third = waiting.await.unwrap();
    assert_eq!(before.in_flight(), 2);
    // One that gives up waiting makes room for another one.
    assert!(is_waiting(before.slot(anyone())).await);
    assert!(is_waiting(after.slot(anyone())).await);
    drop((second, third));
    assert_eq!(before.in_flight(), 0);
    assert_eq!(kind(poll!(pin!(before.slot(anyone())))), None);
}

#[tokio::test]
async fn a_closed_gate_sends_everybody_away() {
    let gate = Arc::new(Gate::new(1, 5));
    let server = attached(&gate);
    let _held = server.slot(anyone()).await.unwrap();
    let mut waiting = Box::pin(server.slot(anyone()));
    assert!(poll!(&mut waiting).is_pending());
    gate.close();
    assert_eq!(waiting.await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(kind(poll!(pin!(server.slot(anyone())))), Some(ErrorKind::Unavailable));
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_whose_lease_is_over() {
    let gate = Arc::new(Gate::new(1, 5));
    let (lease, keeper) = Lease::new("place.fs.0", 7, Instant::now() + Duration::from_secs(3600));
    let server = Attached { fence: Some(lease.fence()), ..attached(&gate) };
    assert!(server.may_run().is_ok());
    let held = server.slot(anyone()).await.unwrap();
    let mut waiting = Box::pin(server.slot(anyone()));
    assert!(poll!(&mut waiting).is_pending());
    // Whoever waited while the lease ran out is refused like the others: nothing was executed.
    keeper.valid_until.send_replace(Instant::now());
    drop(held);
    assert_eq!(waiting.await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(server.may_run().unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(server.in_flight(), 0);
}

fn server(id: &str, bytes: usize) -> ServerEntry {
    let json = Json::from_trusted(format!("{{\"name\":\"t\",\"x\":\"{}\"}}", "x".repeat(bytes)));
    let listing = Listing { tools: vec![ListingEntry { name: "t".into(), json }], ..Listing::default() };
    ServerEntry {
        id: id.parse().unwrap(),
        node: "a".parse().unwrap(),
        local: true,
        transport: "stdio".into(),
        facts: None,
        listing: Arc::new(listing),
        health: Health { state: ServerState::Ready, detail: None, restarts: 3 },
        call_timeout: Some(Duration::from_millis(5)),
        source: spanwire_model::Source::Config,
        placed: None,
        load: 0,
    }
}

#[test]
fn a_server_that_lists_too_much_does_not_hide_the_others() {
    let read = |max_bytes: usize| {
        let servers = [server("big", 5000), server("small", 10)].iter().map(WireServer::from).collect();
        let state = NodeState { node: "a".parse().unwrap(), beat: Beat::default(), servers };
        let bytes = state.into_bytes(max_bytes).unwrap();
        let state: NodeState = serde_json::from_slice(&bytes).unwrap();
        let entries = state.servers.into_iter().map(|server| server.into_entry(&"a".parse().unwrap()));
        entries.map(|entry| (entry.listing.tools.len(), entry.health.detail.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(read(100_000), [(1, false), (1, false)]);
    assert_eq!(read(2_000), [(0, true), (1, false)]);
    assert_eq!(read(10), [(0, true), (0, true)], "what is left has no listing to leave out");
}
