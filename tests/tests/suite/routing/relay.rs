//! Exchanges of sessions between two routers.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use spanwire_model::{
    Backbone, Error, ErrorKind, Exchange, ExchangePart, Exchanged, Inventory, MAX_PIECE_BYTES, NodeId, NodeState,
    Principal, Relay, Relayed, Result, Topic, Verb,
};
use spanwire_router::{MAX_RELAYED_REQUESTS, MAX_RELAYED_STREAMS};
use tokio::{sync::mpsc, time::timeout};

use super::{
    script::PATIENCE,
    world::{Node, Setup, World},
};

/// An edge that answers with the parts it is given, and says when an answer is dropped.
struct Edge {
    answers: Mutex<Vec<mpsc::Receiver<Result<ExchangePart>>>>,
    asked: Mutex<Vec<Exchange>>,
    dropped: mpsc::UnboundedSender<()>,
}

struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Relayed for Edge {
    fn serve(&self, exchange: Exchange) -> Exchanged {
        self.asked.lock().unwrap().push(exchange);
        let mut parts = self.answers.lock().unwrap().remove(0);
        let guard = Dropped(self.dropped.clone());
        async_stream::stream! {
            let _guard = guard;
            while let Some(part) = parts.recv().await {
                yield part;
            }
        }
        .boxed()
    }
}

struct Cluster {
    a: Node,
    b: Node,
    edge: Arc<Edge>,
    /// What the router knows, held as a composition root holds it.
    shared: Option<Arc<dyn Relayed>>,
    drops: mpsc::UnboundedReceiver<()>,
}

impl Cluster {
    async fn start() -> Self {
        let world = World::new();
        let (a, b) = (world.start("a", Setup::of(&[])).await, world.start("b", Setup::of(&[])).await);
        let (dropped, drops) = mpsc::unbounded_channel();
        let edge = Arc::new(Edge { answers: Mutex::default(), asked: Mutex::default(), dropped });
        let shared: Arc<dyn Relayed> = edge.clone();
        a.router.serve_sessions(&shared);
        Self { a, b, edge, shared: Some(shared), drops }
    }

    /// Asks a through b. The parts of the answer go into the sender.
    fn ask(&self, verb: Verb) -> (mpsc::Sender<Result<ExchangePart>>, Exchanged) {
        let (parts, answer) = mpsc::channel(1);
        self.edge.answers.lock().unwrap().push(answer);
        (parts, self.relay("a", verb, "null"))
    }

    fn relay(&self, to: &str, verb: Verb, body: &str) -> Exchanged {
        let to: NodeId = to.parse().unwrap();
        self.b.router.relay(&to, exchange(verb, body))
    }
}

fn exchange(verb: Verb, body: &str) -> Exchange {
    Exchange {
        id: uuid::Uuid::now_v7(),
        principal: Principal::new("ann"),
        view: Some("work".into()),
        verb,
        session: "a.secret".into(),
        headers: vec![("mcp-protocol-version".into(), "2025-06-18".into())],
        address: None,
        parent: None,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn head() -> ExchangePart {
    ExchangePart::Head { status: 202, headers: vec![("allow".into(), "POST".into())] }
}

fn body(text: &str) -> ExchangePart {
    ExchangePart::Body(Bytes::copy_from_slice(text.as_bytes()))
}

async fn next(answer: &mut Exchanged) -> Option<Result<ExchangePart>> {
    timeout(PATIENCE, answer.next()).await.expect("nothing came")
}

async fn failed(mut answer: Exchanged) -> ErrorKind {
    let kind = next(&mut answer).await.unwrap().unwrap_err().kind;
    assert!(next(&mut answer).await.is_none(), "an error is last");
    kind
}

#[tokio::test]
async fn parts_come_as_they_are_made() {
    let mut cluster = Cluster::start().await;
    let (parts, mut answer) = cluster.ask(Verb::Post);
    parts.send(Ok(head())).await.unwrap();
    assert_eq!(next(&mut answer).await.unwrap().unwrap(), head());
    for text in [":\n\n", "event: message\n", "\u{fc}"] {
        parts.send(Ok(body(text))).await.unwrap();
        assert_eq!(next(&mut answer).await.unwrap().unwrap(), body(text));
    }
    drop(parts);
    assert!(next(&mut answer).await.is_none());
    cluster.drops.recv().await.unwrap();

    let asked = cluster.edge.asked.lock().unwrap().remove(0);
    assert_eq!((&*asked.principal.name, asked.view.as_deref(), asked.verb), ("ann", Some("work"), Verb::Post));
    assert_eq!((&*asked.session, &*asked.body), ("a.secret", &b"null"[..]));
    assert_eq!(asked.headers, [("mcp-protocol-version".to_owned(), "2025-06-18".to_owned())]);
}

/// A reader that takes nothing holds the other side up: a window's worth is made, and no more.
#[tokio::test]
async fn a_slow_client_slows_the_session_down() {
    let cluster = Cluster::start().await;
    let (parts, mut answer) = cluster.ask(Verb::Get);
    let piece = || Ok(ExchangePart::Body(Bytes::from(vec![b'x'; MAX_PIECE_BYTES])));
    parts.send(Ok(head())).await.unwrap();
    assert_eq!(next(&mut answer).await.unwrap().unwrap(), head());
    let made = tokio::spawn(async move {
        let mut made = 0;
        while made < 1000 && parts.send(piece()).await.is_ok() {
            made += 1;
        }
        made
    });
    // It cannot end before somebody reads.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!made.is_finished());
    let mut got = 0;
    while let Some(part) = next(&mut answer).await {
        part.unwrap();
        got += 1;
    }
    assert_eq!((made.await.unwrap(), got), (1000, 1000));
}

#[tokio::test]
async fn dropping_the_answer_drops_it_on_the_other_node() {
    let mut cluster = Cluster::start().await;
    for verb in [Verb::Post, Verb::Get] {
        let (parts, mut answer) = cluster.ask(verb);
        parts.send(Ok(head())).await.unwrap();
        next(&mut answer).await.unwrap().unwrap();
        drop(answer);
        timeout(PATIENCE, cluster.drops.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_broken_answer_ends_with_an_error() {
    let cluster = Cluster::start().await;
    let (parts, mut answer) = cluster.ask(Verb::Post);
    parts.send(Ok(head())).await.unwrap();
    next(&mut answer).await.unwrap().unwrap();
    parts.send(Err(Error::new(ErrorKind::StreamLost, "broke off"))).await.unwrap();
    assert_eq!(failed(answer).await, ErrorKind::StreamLost);
    let (parts, answer) = cluster.ask(Verb::Post);
    parts.send(Err(Error::new(ErrorKind::SessionGone, "no such session"))).await.unwrap();
    assert_eq!(failed(answer).await, ErrorKind::SessionGone, "its kind stays");
    let (parts, answer) = cluster.ask(Verb::Post);
    drop(parts);
    assert_eq!(failed(answer).await, ErrorKind::StreamLost, "an answer without a head");

    // The node goes away in the middle.
    let (parts, mut answer) = cluster.ask(Verb::Post);
    parts.send(Ok(head())).await.unwrap();
    next(&mut answer).await.unwrap().unwrap();
    cluster.a.stop().await;
    assert_eq!(failed(answer).await, ErrorKind::StreamLost);
    cluster.b.until("a is gone", |inventory| inventory.nodes.len() == 1).await;
    assert_eq!(failed(cluster.relay("a", Verb::Post, "null")).await, ErrorKind::SessionGone);
}

#[tokio::test]
async fn nobody_there_is_told_from_nobody_reached() {
    let mut cluster = Cluster::start().await;
    assert_eq!(failed(cluster.relay("nowhere", Verb::Get, "")).await, ErrorKind::SessionGone);
    cluster.b.bus.connected.store(false, Ordering::SeqCst);
    assert_eq!(failed(cluster.relay("nowhere", Verb::Get, "")).await, ErrorKind::Unavailable);
    assert_eq!(failed(cluster.relay("a", Verb::Get, "")).await, ErrorKind::Unavailable);
    cluster.b.bus.connected.store(true, Ordering::SeqCst);
    cluster.shared = None;
    cluster.edge =
        Arc::new(Edge { answers: Mutex::default(), asked: Mutex::default(), dropped: cluster.edge.dropped.clone() });
    assert_eq!(failed(cluster.relay("a", Verb::Get, "")).await, ErrorKind::SessionGone, "the edge is gone");
    let large = format!("\"{}\"", "x".repeat(64 * 1024 * 1024));
    assert_eq!(failed(cluster.relay("a", Verb::Post, &large)).await, ErrorKind::TooLarge);
}

const STATE: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"node":"ghost","beat":{"incarnation":1,"version":1},"servers":[]}}"#;

#[tokio::test]
async fn a_node_that_is_not_given_up_has_its_sessions_still() {
    let world = World::new();
    let quick: fn(&mut spanwire_registry::Config) = |config| {
        config.heartbeat = Duration::from_millis(20);
        (config.heartbeats_until_suspect, config.heartbeats_until_gone) = (10, 1_000_000);
    };
    let b = world.start("b", Setup { registry: quick, ..Setup::of(&[]) }).await;
    let ghost = world.impostor("ghost", STATE).await;
    ghost.say("ghost", r#"{"what":"alive","beat":{"incarnation":1,"version":1}}"#).await;
    b.until("ghost", |inventory| inventory.nodes.len() == 2).await;
    // It is cut off: nothing that is sent there finds anybody.
    let bus = ghost.bus.clone();
    drop(ghost);
    assert_eq!(
        failed(b.router.relay(&"ghost".parse().unwrap(), exchange(Verb::Post, "null"))).await,
        ErrorKind::Unavailable
    );
    let is_suspect = |inventory: &Inventory| {
        inventory.nodes.iter().any(|node| node.id.as_str() == "ghost" && node.state == NodeState::Suspect)
    };
    b.until("ghost is suspect", is_suspect).await;
    assert_eq!(
        failed(b.router.relay(&"ghost".parse().unwrap(), exchange(Verb::Post, "null"))).await,
        ErrorKind::Unavailable
    );
    let topic = Topic { kind: "node".into(), id: "ghost".into(), what: "state".into() };
    bus.publish(&topic, Bytes::from_static(br#"{"what":"leaving"}"#)).await.unwrap();
    b.until("ghost is gone", |inventory| inventory.nodes.len() == 1).await;
    assert_eq!(
        failed(b.router.relay(&"ghost".parse().unwrap(), exchange(Verb::Post, "null"))).await,
        ErrorKind::SessionGone
    );
    b.stop().await;
}

#[tokio::test]
async fn exchanges_in_flight_are_bounded() {
    let mut cluster = Cluster::start().await;
    for (verb, other, max) in
        [(Verb::Get, Verb::Post, MAX_RELAYED_STREAMS), (Verb::Post, Verb::Get, MAX_RELAYED_REQUESTS)]
    {
        let mut open = Vec::new();
        for _ in 0..max {
            let (parts, mut answer) = cluster.ask(verb);
            parts.send(Ok(head())).await.unwrap();
            next(&mut answer).await.unwrap().unwrap();
            open.push((parts, answer));
        }
        assert_eq!(failed(cluster.relay("a", verb, "null")).await, ErrorKind::Overloaded, "{verb:?}");
        let (parts, mut answer) = cluster.ask(other);
        parts.send(Ok(head())).await.unwrap();
        assert_eq!(
            next(&mut answer).await.unwrap().unwrap(),
            head(),
            "streams and requests do not take each other's places"
        );
        drop((open.pop(), answer));
        for _ in 0..2 {
            timeout(PATIENCE, cluster.drops.recv()).await.unwrap().unwrap();
        }
        let (parts, mut answer) = cluster.ask(verb);
        parts.send(Ok(head())).await.unwrap();
        assert_eq!(next(&mut answer).await.unwrap().unwrap(), head(), "a place is given back");
        drop((open, parts, answer));
        for _ in 0..max {
            timeout(PATIENCE, cluster.drops.recv()).await.unwrap().unwrap();
        }
    }
}
