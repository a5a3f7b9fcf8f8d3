//! A request reaches exactly one server of its address, or none; its reply is complete.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::join_all,
    stream::{self},
};
use spanwire_model::{Address, BusRequest, ErrorKind, Frame, ServeOn, TraceContext};
use tokio::time::Instant;

use super::{
    fixture::{Fixture, node_id, request, server_id},
    handlers::{echo, end, failure, handler, message, named, next, progress, response, stuck_after},
};

fn fs() -> Address {
    Address::Server(server_id("fs"))
}

fn on_fs() -> ServeOn {
    ServeOn::Server(server_id("fs"))
}

pub(super) async fn a_reply_is_complete_and_in_order(fixture: &Fixture) {
    let frames = vec![message("1"), progress("p"), message("2"), message("3"), end("done")];
    let script = frames.clone();
    let _guard = fixture.b.serve(on_fs(), handler(move |_| stream::iter(script.clone()).boxed())).await.unwrap();
    let reply: Vec<Frame> = fixture.a.request(fs(), request("x")).map(Result::unwrap).collect().await;
    assert_eq!(reply.len(), frames.len());
    assert_eq!(reply[..4], frames[..4]);
    let Frame::End { payload, elapsed } = &reply[4] else { panic!("no end") };
    assert_eq!(payload, "done");
    assert!(*elapsed < Duration::from_secs(60), "the backbone measures, not the handler");
}

pub(super) async fn a_request_arrives_whole(fixture: &Fixture) {
    let seen: Arc<Mutex<Vec<BusRequest>>> = Arc::default();
    let keep = seen.clone();
    let keeper = handler(move |request| {
        keep.lock().unwrap().push(request);
        stream::iter([end("ok")]).boxed()
    });
    let _guard = fixture.b.serve(on_fs(), keeper).await.unwrap();
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long_uri = format!("file:///{}/ü%20.txt", "folder.with dots/".repeat(80));
    let cases = [
        ("anna@example.com", Some("read_file"), None, "tools/call"),
        ("ünï > *.x", Some("*"), Some(""), "a.b/c d"),
        ("_", Some("_"), Some("vendor=1,other=2"), "_"),
        ("=", None, None, "server/discover"),
        (&*"p".repeat(900), Some(&*long_uri), None, "resources/read"),
        ("line\r\nbreak", Some(""), None, "tools/call"),
    ];
    for (principal, name, tracestate, method) in cases {
        let sent = BusRequest {
            principal: principal.into(),
            name: name.map(Into::into),
            method: method.into(),
            trace: Some(TraceContext::parse(traceparent, tracestate).unwrap()),
            ..request(format!("payload of {method}"))
        };
        response(fixture.a.request(fs(), sent.clone())).await;
        let got = seen.lock().unwrap().pop().unwrap();
        assert_eq!(got.call_id, sent.call_id);
        assert_eq!((got.principal, got.name, got.method), (sent.principal, sent.name, sent.method));
        assert_eq!((got.server, got.trace, got.payload), (sent.server, sent.trace, sent.payload));
        assert!(got.budget <= sent.budget && got.budget > Duration::from_secs(10), "{:?}", got.budget);
    }
}

pub(super) async fn one_of_the_replicas_gets_each_request(fixture: &Fixture) {
    const CALLS: usize = 60;
    let _b = fixture.b.serve(on_fs(), named("b")).await.unwrap();
    let _c = fixture.c.serve(on_fs(), named("c")).await.unwrap();
    let replies = join_all((0..CALLS).map(|_| response(fixture.a.request(fs(), request("x"))))).await;
    let mut by_node: HashMap<Bytes, usize> = HashMap::new();
    for reply in replies {
        *by_node.entry(reply).or_default() += 1;
    }
    assert_eq!(by_node.values().sum::<usize>(), CALLS);
    assert_eq!(by_node.len(), 2, "both take part: {by_node:?}");
}

pub(super) async fn a_node_is_reached_by_its_address(fixture: &Fixture) {
    let _b = fixture.b.serve(ServeOn::Node, named("b")).await.unwrap();
    let _c = fixture.c.serve(ServeOn::Node, named("c")).await.unwrap();
    for name in ["b", "c", "b"] {
        let to = Address::Node(node_id(name));
        assert_eq!(response(fixture.a.request(to.clone(), request("x"))).await, name);
        let without_server = BusRequest { server: None, ..request("x") };
        assert_eq!(response(fixture.a.request(to, without_server)).await, name);
    }
    let _own = fixture.a.serve(ServeOn::Node, named("a")).await.unwrap();
    assert_eq!(response(fixture.a.request(Address::Node(node_id("a")), request("x"))).await, "a");
    let nobody = failure(fixture.a.request(Address::Node(node_id("z")), request("x"))).await;
    assert_eq!(nobody.kind, ErrorKind::Unavailable, "{nobody:?}");
}

pub(super) async fn a_node_is_served_once(fixture: &Fixture) {
    let guard = fixture.b.serve(ServeOn::Node, named("first")).await.unwrap();
    assert!(fixture.b.serve(ServeOn::Node, named("second")).await.is_err());
    let to = || Address::Node(node_id("b"));
    assert_eq!(response(fixture.a.request(to(), request("x"))).await, "first");
    drop(guard);
    let _guard = fixture.b.serve(ServeOn::Node, named("third")).await.unwrap();
    assert_eq!(response(fixture.b.request(to(), request("x"))).await, "third");
}

pub(super) async fn nobody_is_known_at_once(fixture: &Fixture) {
    let started = Instant::now();
    let error = failure(fixture.a.request(fs(), request("x"))).await;
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert!(error.public.contains("fs"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "not by a time-out");
}

pub(super) async fn tenants_do_not_see_each_other(fixture: &Fixture) {
    let _fs = fixture.a.serve(on_fs(), echo()).await.unwrap();
    let _node = fixture.a.serve(ServeOn::Node, echo()).await.unwrap();
    for to in [fs(), Address::Node(node_id("a"))] {
        let error = failure(fixture.stranger.request(to, request("x"))).await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    }
}

pub(super) async fn a_dropped_guard_stops_serving(fixture: &Fixture) {
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    let mut running = fixture.a.request(fs(), request("x"));
    assert_eq!(next(&mut running).await, message("1"));
    drop(guard);
    // The guard does not wait for the other nodes to hear of it.
    while let Some(item) = fixture.a.request(fs(), request("x")).next().await {
        match item {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
                break;
            }
        }
    }
    // What runs goes on; the calls that got in meanwhile have been dropped.
    while fixture.b.in_flight()["handling"] != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(running);
    dropped.happened().await;
}

pub(super) async fn many_calls_at_once(fixture: &Fixture) {
    const CALLS: usize = 100;
    const MESSAGES: usize = 50;
    let counting = handler(|request| {
        let name = request.payload;
        let messages = (0..MESSAGES).map({
            let name = name.clone();
            move |n| message(format!("{}:{n}", String::from_utf8_lossy(&name)))
        });
        stream::iter(messages).chain(stream::iter([end(name)])).boxed()
    });
    let _b = fixture.b.serve(on_fs(), counting.clone()).await.unwrap();
    let _c = fixture.c.serve(on_fs(), counting).await.unwrap();
    join_all((0..CALLS).map(async |call| {
        let mut reply = fixture.a.request(fs(), request(format!("call {call}")));
        for n in 0..MESSAGES {
            assert_eq!(next(&mut reply).await, message(format!("call {call}:{n}")));
        }
        assert_eq!(response(reply).await, format!("call {call}"));
    }))
    .await;
}
