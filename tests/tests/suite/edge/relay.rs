//! Sessions of one node through another one: two edges, and a wire between them that a test can cut.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::stream;
use spanwire_http::server::{Cluster, clustered};
use spanwire_model::{Exchange, ExchangePart, Exchanged, NodeId, Relay, Relayed};
use tokio::sync::Semaphore;

use super::{
    double::notification,
    legacy::{Old, initialize, request},
    *,
};

/// The way between the nodes.
struct Wire {
    nodes: Mutex<HashMap<NodeId, Arc<dyn Relayed>>>,
    relayed: AtomicUsize,
    /// What is said instead of an answer, after so many parts of it.
    fault: Mutex<Option<(usize, ErrorKind)>>,
    /// How often that may happen.
    may_fail: Arc<Semaphore>,
}

/// As often as it is asked for.
const ALWAYS: usize = 1000;

impl Relay for Wire {
    fn relay(&self, to: &NodeId, exchange: Exchange) -> Exchanged {
        self.relayed.fetch_add(1, Ordering::SeqCst);
        let Some(node) = self.nodes.lock().unwrap().get(to).cloned() else {
            return stream::iter([Err(Error::new(ErrorKind::SessionGone, "no such node"))]).boxed();
        };
        let parts = node.serve(exchange);
        match *self.fault.lock().unwrap() {
            None => parts,
            Some((after, kind)) => {
                let may_fail = self.may_fail.clone();
                let fault = stream::once(async move {
                    may_fail.acquire().await.unwrap().forget();
                    Err(Error::new(kind, "a fault"))
                });
                parts.take(after).chain(fault).boxed()
            }
        }
    }
}

pub(super) struct Pair {
    wire: Arc<Wire>,
    pub(super) a: Node,
    pub(super) b: Node,
}

impl Pair {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl Fn(&mut Config)) -> Self {
        let wire = Arc::new(Wire {
            nodes: Mutex::default(),
            relayed: AtomicUsize::new(0),
            fault: Mutex::default(),
            may_fail: Arc::new(Semaphore::new(ALWAYS)),
        });
        let node = async |name: &str| {
            let (name, wire): (NodeId, _) = (name.parse().unwrap(), wire.clone());
            start(
                |config, _| change(config),
                |config, dispatch, auth| {
                    let cluster = Cluster { node: name.clone(), relay: wire.clone() };
                    let (routes, sessions) = clustered(config, dispatch, auth, cluster);
                    wire.nodes.lock().unwrap().insert(name, sessions);
                    routes
                },
            )
            .await
        };
        Self { a: node("a").await, b: node("b").await, wire }
    }

    fn fail(&self, after: usize, kind: ErrorKind) {
        *self.wire.fault.lock().unwrap() = Some((after, kind));
    }

    fn relayed(&self) -> usize {
        self.wire.relayed.load(Ordering::SeqCst)
    }
}

impl Drop for Pair {
    /// The wire holds the edges, which hold the wire.
    fn drop(&mut self) {
        self.wire.nodes.lock().unwrap().clear();
    }
}

impl<'a> Old<'a> {
    /// The same client through another node.
    fn through(&self, node: &'a Node) -> Self {
        Self { node, revision: self.revision, session: self.session.clone() }
    }
}

/// Every byte of a response but for the date, how its body is framed, and the ids of its events.
async fn whole(request: reqwest::RequestBuilder) -> (u16, Vec<(String, String)>, String) {
    let response = soon(request.send()).await.unwrap();
    let framing = ["date", "content-length", "transfer-encoding"];
    let headers = response.headers().iter().filter(|(name, _)| !framing.contains(&name.as_str()));
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    headers.sort();
    let status = response.status().as_u16();
    let text = soon(response.text()).await.unwrap();
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("id: "));
    (status, headers, lines.collect())
}

#[tokio::test]
async fn a_session_is_served_by_any_node() {
    let pair = Pair::start().await;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let at_a = Old::open(&pair.a, revision).await;
        assert!(at_a.session.starts_with("a."), "{}", at_a.session);
        let at_b = at_a.through(&pair.b);
        let progress = json!({"name": "progress", "_meta": {"progressToken": 1}});
        for body in [
            json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
            request(1, "ping", json!({})),
            request(2, "tools/list", json!({})),
            request(3, "tools/call", json!({"name": "echo", "arguments": {"text": "\u{fc}"}})),
            request(4, "tools/call", progress),
            request(5, "tools/call", json!({"name": "nothing"})),
            request(6, "x/unknown", json!({})),
            json!([request(7, "ping", json!({})), request(8, "tools/call", json!({"name": "echo"}))]),
        ] {
            assert_eq!(whole(at_b.post(&body)).await, whole(at_a.post(&body)).await, "{revision}: {body}");
        }
        let call = pair.a.double.last();
        assert_eq!(call.client.revision.as_str(), revision);
        assert!(call.client.address.unwrap().ip().is_loopback());
        assert_eq!(soon(at_b.dress(pair.b.client.delete(pair.b.url())).send()).await.unwrap().status(), 204);
        for old in [&at_a, &at_b] {
            let (status, body) = ask(old.post(&request(9, "ping", json!({})))).await;
            assert_eq!((status, &body["error"]["code"], &body["id"]), (404, &json!(40400), &json!(9)));
        }
    }
    assert!(pair.b.double.calls.lock().unwrap().is_empty(), "what belongs to a was done by b");
}

#[tokio::test]
async fn the_stream_of_a_session_passes_as_it_is_made() {
    let pair = Pair::start_with(|config| config.keep_alive = Duration::from_millis(20)).await;
    let at_a = Old::open(&pair.a, "2025-11-25").await;
    let at_b = at_a.through(&pair.b);
    let mut events = Events::open(at_b.get()).await;
    assert_eq!(events.block().await.unwrap(), "id: 0-0\nretry: 1000\ndata: ");
    assert_eq!(events.block().await.unwrap(), ":", "comments too");
    let (_, body) = ask(at_b.post(&request(1, "resources/subscribe", json!({"uri": "a:1"})))).await;
    assert_eq!(body["result"], json!({}));
    pair.a.double.changes.send(notification("notifications/resources/updated", json!({"uri": "a:1"}))).unwrap();
    assert_eq!(events.message().await.unwrap()["params"]["uri"], "a:1");
    // The newest stream counts, wherever it was opened.
    let mut second = Events::open(at_a.get()).await;
    assert_eq!(events.message().await, None);
    pair.a.double.changes.send(notification("notifications/tools/list_changed", json!({}))).unwrap();
    assert_eq!(second.message().await.unwrap()["method"], "notifications/tools/list_changed");
    // A node that stops does not wait for it, and the session lives on.
    let mut third = Events::open(at_b.get()).await;
    pair.b.shutdown.cancel();
    assert_eq!(third.message().await, None);
    assert_eq!(ask(at_a.post(&request(2, "ping", json!({})))).await.0, 200);
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_on_the_other_node() {
    let pair = Pair::start_with(|config| config.resume_timeout = Duration::from_millis(50)).await;
    let at_b = Old::open(&pair.a, "2025-11-25").await.through(&pair.b);
    let stuck = request(7, "tools/call", json!({"name": "stuck"}));
    let mut events = Events::open(at_b.post(&stuck)).await;
    events.message().await.unwrap();
    drop(events);
    assert_eq!(pair.a.double.dropped().await, "stuck");
    // So does a notification that comes through either node.
    let mut events = Events::open(at_b.post(&stuck)).await;
    events.message().await.unwrap();
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(ask(at_b.post(&cancelled)).await.0, 202);
    assert_eq!(pair.a.double.dropped().await, "stuck");
    assert_eq!(events.message().await, None);
}

#[tokio::test]
async fn what_a_server_asks_is_answered_through_any_node() {
    let pair = Pair::start().await;
    let at_a = Old::open(&pair.a, "2025-11-25").await;
    let at_b = at_a.through(&pair.b);
    let rounds = json!([{"a": {"method": "roots/list"}}, {"b": {"method": "roots/list"}}]);
    let call = request(1, "tools/call", json!({"name": "asks", "arguments": {"rounds": rounds}}));
    let mut events = Events::open(at_b.post(&call)).await;
    for (round, node) in [at_a, at_b].into_iter().enumerate() {
        let asked = events.message().await.unwrap();
        assert_eq!(asked["method"], "roots/list", "{round}");
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}});
        assert_eq!(ask(node.post(&answer)).await.0, 202);
    }
    let last = events.message().await.unwrap();
    assert_eq!(last["result"]["structuredContent"]["inputResponses"], json!({"b": {"roots": []}}));
}

#[tokio::test]
async fn a_stream_that_broke_at_one_node_is_read_on_at_the_other() {
    let pair = Pair::start().await;
    let at_a = Old::open(&pair.a, "2025-11-25").await;
    let at_b = at_a.through(&pair.b);
    let rounds = json!([{"a": {"method": "roots/list"}}]);
    let call = request(1, "tools/call", json!({"name": "asks", "arguments": {"rounds": rounds}}));
    let mut events = Events::open(at_b.post(&call)).await;
    let asked = events.message().await.unwrap();
    let last = events.last_id.clone().unwrap();
    drop(events);
    let mut events = Events::open(at_a.get().header("last-event-id", &last)).await;
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}});
    assert_eq!(ask(at_b.post(&answer)).await.0, 202);
    let outcome = events.message().await.unwrap();
    assert_eq!(outcome["id"], 1, "{outcome}");
    // And the other way round.
    let mut again = Events::open(at_b.get().header("last-event-id", &last)).await;
    assert_eq!(again.message().await, Some(outcome));
    assert_eq!(again.message().await, None);
    let unknown = at_b.get().header("last-event-id", "9-9");
    assert_eq!(ask(unknown).await.0, 400);
}

#[tokio::test]
async fn each_node_checks_what_is_its_own() {
    let pair = Pair::start().await;
    let at_b = Old::open(&pair.a, "2025-06-18").await.through(&pair.b);
    let before = pair.relayed();
    let ping = request(1, "ping", json!({}));
    for (name, value, status) in
        [("origin", "http://evil.example", 403), ("host", "evil.example", 403), ("authorization", "Bearer stolen", 401)]
    {
        let mut request = at_b.post(&ping).build().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let response = soon(pair.b.client.execute(request)).await.unwrap();
        assert_eq!(response.status(), status, "{name}");
    }
    let unread = at_b.post(&json!(null)).body("{");
    assert_eq!(ask(unread).await.0, 400);
    // A modern request is served where it came; the session's header means nothing to it.
    assert_eq!(ask(pair.b.post(&call("echo")).header("mcp-session-id", &at_b.session)).await.0, 200);
    assert_eq!(pair.relayed(), before, "what was refused here went on");

    // The session's own: who, through what, and in which revision.
    assert_eq!(ask(at_b.post(&ping).header("authorization", "Bearer ann-token")).await.0, 404);
    let view = at_b.dress(pair.b.client.post(format!("{}/work", pair.b.url()))).body(ping.to_string());
    assert_eq!(ask(view).await.0, 404);
    let bare = accept_both(pair.b.client.post(pair.b.url())).header("mcp-session-id", &at_b.session);
    assert_eq!(ask(bare.header("mcp-protocol-version", "2025-11-25").body(ping.to_string())).await.0, 400);
    assert_eq!(pair.relayed(), before + 3);
    assert_eq!(ask(at_b.post(&ping)).await.0, 200);
}

#[tokio::test]
async fn what_is_passed_on_goes_no_further() {
    let pair = Pair::start().await;
    let at_b = Old::open(&pair.a, "2025-11-25").await.through(&pair.b);
    // Node a is another one now, and does not know the session; it must not look for it at b.
    let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
    let served_by_b = pair.wire.nodes.lock().unwrap()[&b].clone();
    pair.wire.nodes.lock().unwrap().insert(a, served_by_b);
    assert_eq!(ask(at_b.post(&request(1, "ping", json!({})))).await.0, 404);
    assert_eq!(pair.relayed(), 1);
}

#[tokio::test]
async fn a_session_whose_node_is_gone_is_an_unknown_one() {
    let pair = Pair::start().await;
    let at_b = Old::open(&pair.a, "2025-11-25").await.through(&pair.b);
    let ping = request(1, "ping", json!({}));
    let unknown = Old { session: "a.0f1c9f0e-3c5e-4d3e-9d3a-111111111111".into(), ..at_b.through(&pair.b) };
    let expected = whole(unknown.post(&ping)).await;
    assert_eq!(expected.0, 404);
    assert!(expected.2.contains("send initialize again"), "{}", expected.2);
    pair.wire.nodes.lock().unwrap().remove(&"a".parse().unwrap());
    assert_eq!(whole(at_b.post(&ping)).await, expected);
    for request in [at_b.get(), at_b.dress(pair.b.client.delete(pair.b.url()))] {
        assert_eq!(ask(request).await.0, 404);
    }
    for strange in ["lost", "nowhere.x", ".x", "A.x", "a"] {
        let old = Old { session: strange.into(), ..at_b.through(&pair.b) };
        assert_eq!(ask(old.post(&ping)).await.0, 404, "{strange}");
    }
    let (status, body) =
        ask(accept_both(pair.b.client.post(pair.b.url())).body(initialize("2025-11-25").to_string())).await;
    assert_eq!((status, &body["result"]["protocolVersion"]), (200, &json!("2025-11-25")));
}

#[tokio::test]
async fn failures_on_the_way_have_a_status_of_their_own() {
    let pair = Pair::start().await;
    let at_b = Old::open(&pair.a, "2025-11-25").await.through(&pair.b);
    let ping = request(1, "ping", json!({}));
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    for (after, kind, of_request, of_others, code) in [
        (0, ErrorKind::Unavailable, 503, 503, 50300),
        (0, ErrorKind::Overloaded, 429, 429, 42900),
        (0, ErrorKind::TooLarge, 413, 413, -32600),
        // What became of it is not known: an outcome where there can be one.
        (0, ErrorKind::StreamLost, 200, 502, 50410),
        (0, ErrorKind::DeadlineExceeded, 200, 502, 50400),
        (1, ErrorKind::StreamLost, 200, 502, 50410),
    ] {
        pair.fail(after, kind);
        let response = soon(at_b.post(&ping).send()).await.unwrap();
        let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body: Value = serde_json::from_str(&soon(response.text()).await.unwrap()).unwrap();
        assert_eq!((status, &body["error"]["code"], &body["id"]), (of_request, &json!(code), &json!(1)), "{kind:?}");
        assert_eq!(retry.is_some(), status == 503, "{kind:?}");
        assert_eq!(ask(at_b.post(&told)).await.0, of_others, "{kind:?}");
        assert_eq!(ask(at_b.dress(pair.b.client.delete(pair.b.url()))).await.0, of_others, "{kind:?}");
        if after == 0 {
            assert_eq!(ask(at_b.get()).await.0, of_others, "{kind:?}");
        }
        *pair.wire.fault.lock().unwrap() = None;
        // DELETE may have arrived.
        if after == 1 {
            assert_eq!(ask(at_b.post(&ping)).await.0, 404);
        }
    }
}

/// The end of a connection, not of the stream: a client must not take half an answer for a whole one.
#[tokio::test]
async fn a_stream_that_breaks_off_does_not_end_well() {
    let pair = Pair::start().await;
    let at_b = Old::open(&pair.a, "2025-11-25").await.through(&pair.b);
    pair.fail(2, ErrorKind::StreamLost);
    pair.wire.may_fail.forget_permits(ALWAYS);
    let call = request(7, "tools/call", json!({"name": "progress", "_meta": {"progressToken": 1}}));
    let response = soon(at_b.post(&call).send()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut pieces = response.bytes_stream();
    let first = soon(pieces.next()).await.unwrap().unwrap();
    assert!(!first.is_empty());
    pair.wire.may_fail.add_permits(1);
    assert!(soon(pieces.next()).await.unwrap().is_err(), "a silent end");
}

#[tokio::test]
async fn an_answer_above_the_limit_is_refused_and_said_so() {
    let pair = Pair::start_with(|config| config.max_body_bytes = 1024).await;
    let at_b = Old::open(&pair.a, "2025-11-25").await.through(&pair.b);
    struct Large;
    impl Relayed for Large {
        fn serve(&self, _: Exchange) -> Exchanged {
            let head =
                ExchangePart::Head { status: 200, headers: vec![("content-type".into(), "application/json".into())] };
            let pieces = stream::repeat(bytes::Bytes::from(vec![b' '; 32 * 1024])).map(ExchangePart::Body);
            stream::once(std::future::ready(head)).chain(pieces).map(Ok).boxed()
        }
    }
    pair.wire.nodes.lock().unwrap().insert("a".parse().unwrap(), Arc::new(Large));
    let (status, body) = ask(at_b.post(&request(3, "ping", json!({})))).await;
    assert_eq!((status, &body["error"]["data"]["kind"], &body["id"]), (413, &json!("too_large"), &json!(3)), "{body}");
}
