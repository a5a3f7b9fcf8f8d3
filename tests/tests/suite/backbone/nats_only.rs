//! What only a network can do: servers that die, connections that are cut, credentials.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use spanwire_backbone::nats::Nats;
use spanwire_model::{Address, Backbone, BusMessage, ErrorKind, Frame, ServeOn};
use spanwire_nats::Credentials;
use spanwire_tests::nats::{NatsServer, Proxy};
use tokio::time::{Instant, sleep};

use super::{
    events::{heard, topic},
    fixture::{config, is_idle, request, server_id, within},
    handlers::{echo, end, failure, handler, message, next, response, stuck_after},
};

fn fs() -> Address {
    Address::Server(server_id("fs"))
}

fn on_fs() -> ServeOn {
    ServeOn::Server(server_id("fs"))
}

async fn node(url: &str, id: &str) -> Arc<dyn Backbone> {
    Arc::new(Nats::connect(config(url, id, "t")).await.unwrap())
}

async fn is_connected(node: &dyn Backbone, wanted: bool) {
    within(async {
        while node.is_connected() != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_over_a_restart_is_whole_or_lost() {
    const MESSAGES: usize = 300;
    let mut server = NatsServer::start().await.unwrap();
    let (a, b) = (node(&server.url(), "a").await, node(&server.url(), "b").await);
    let script = handler(|_| {
        let messages = stream::iter(0..MESSAGES).then(async |n| {
            sleep(Duration::from_millis(2)).await;
            message(n.to_string())
        });
        messages.chain(stream::iter([end("done")])).boxed()
    });
    let _guard = b.serve(on_fs(), script).await.unwrap();
    let mut reply = a.request(fs(), request("x"));
    let mut seen = 0;
    let outcome = within(async {
        loop {
            match reply.next().await.expect("it ended without an error") {
                Ok(Frame::Message(payload)) => {
                    assert_eq!(payload, seen.to_string(), "in order, without a hole");
                    seen += 1;
                    if seen == 50 {
                        server.restart().await.unwrap();
                    }
                }
                Ok(Frame::End { .. }) => break None,
                Ok(other) => panic!("unexpected: {other:?}"),
                Err(error) => break Some(error),
            }
        }
    })
    .await;
    match outcome {
        None => assert_eq!(seen, MESSAGES),
        Some(error) => assert_eq!(error.kind, ErrorKind::StreamLost, "{error:?}"),
    }
    is_connected(a.as_ref(), true).await;
    is_connected(b.as_ref(), true).await;
    is_idle(a.as_ref()).await;
    is_idle(b.as_ref()).await;
    let _echo = b.serve(ServeOn::Server(server_id("echo")), echo()).await.unwrap();
    assert_eq!(response(a.request(Address::Server(server_id("echo")), request("x"))).await, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_loses_replies_and_refuses_requests() {
    let mut server = NatsServer::start().await.unwrap();
    let (a, b) = (node(&server.url(), "a").await, node(&server.url(), "b").await);
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let guard = b.serve(on_fs(), stuck).await.unwrap();
    let mut reply = a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("1"));
    server.kill();
    let error = within(failure(reply)).await;
    assert_eq!(error.kind, ErrorKind::StreamLost, "{error:?}");
    assert!(error.public.contains("\"b\""), "it names the node: {error}");
    within(dropped.happened()).await;
    is_idle(a.as_ref()).await;
    is_idle(b.as_ref()).await;

    is_connected(a.as_ref(), false).await;
    let started = Instant::now();
    let error = failure(a.request(fs(), request("x"))).await;
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    let error = a.publish(&topic("server", "fs", "changed"), "x".into()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(1), "refused at once, not kept for later");

    drop(guard);
    let _guard = b.serve(on_fs(), echo()).await.unwrap();
    drop(b.serve(ServeOn::Node, echo()).await.unwrap());
    let _node = within(b.serve(ServeOn::Node, echo())).await.unwrap();
    server.restart().await.unwrap();
    is_connected(a.as_ref(), true).await;
    is_connected(b.as_ref(), true).await;
    let answer = within(async {
        loop {
            // The server knows of the subscriptions a moment after the connection.
            match a.request(fs(), request("again")).next().await.unwrap() {
                Ok(Frame::End { payload, .. }) => break payload,
                Ok(other) => panic!("unexpected: {other:?}"),
                Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}"),
            }
        }
    })
    .await;
    assert_eq!(answer, "again");
    server.kill();
    within(a.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_caller_drops_the_handlers_stream() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let (a, b) = (node(&proxy.url(), "a").await, node(&server.url(), "b").await);
    for frames in [vec![], vec![message("1")]] {
        let waits_for_one = !frames.is_empty();
        let (stuck, started, dropped) = stuck_after(frames);
        let _guard = b.serve(on_fs(), stuck).await.unwrap();
        let mut reply = a.request(fs(), request("x"));
        if waits_for_one {
            assert_eq!(next(&mut reply).await, message("1"));
        } else {
            tokio::select! {
                item = reply.next() => panic!("unexpected: {item:?}"),
                () = started.happened() => {}
            }
        }
        proxy.cut();
        // The caller is still waiting, so it has not cancelled: the server's word is what ends it.
        within(dropped.happened()).await;
        assert_eq!(a.in_flight()["requests"], 1);
        is_idle(b.as_ref()).await;
        let error = within(failure(reply)).await;
        assert_eq!(error.kind, ErrorKind::StreamLost, "{error:?}");
        proxy.mend();
        is_connected(a.as_ref(), true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_handling_node_is_noticed() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let (a, b) = (node(&server.url(), "a").await, node(&proxy.url(), "b").await);
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let _guard = b.serve(on_fs(), stuck).await.unwrap();
    let mut reply = a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("1"));
    proxy.cut();
    let error = within(failure(reply)).await;
    assert_eq!(error.kind, ErrorKind::StreamLost, "{error:?}");
    assert!(error.public.contains("\"b\""), "it names the node: {error}");
    within(dropped.happened()).await;
    is_idle(b.as_ref()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnection_is_a_gap() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let (a, b) = (node(&proxy.url(), "a").await, node(&server.url(), "b").await);
    let mut messages = a.subscribe("server").await.unwrap();
    let changed = topic("server", "fs", "changed");
    b.publish(&changed, "before".into()).await.unwrap();
    assert_eq!(heard(&mut messages).await.payload, "before");
    proxy.cut();
    is_connected(a.as_ref(), false).await;
    b.publish(&changed, "missed".into()).await.unwrap();
    proxy.mend();
    assert_eq!(within(messages.next()).await, Some(BusMessage::Gap));
    b.publish(&changed, "after".into()).await.unwrap();
    assert_eq!(within(heard(&mut messages)).await.payload, "after");
    a.close().await;
    assert_eq!(within(messages.next()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_without_a_server() {
    let mut server = NatsServer::start().await.unwrap();
    server.kill();
    let mut background = config(&server.url(), "a", "t");
    background.connection.connect_in_background = true;
    let a: Arc<dyn Backbone> = Arc::new(Nats::connect(background).await.unwrap());
    assert!(!a.is_connected());
    let _guard = a.serve(on_fs(), echo()).await.unwrap();
    let mut messages = a.subscribe("server").await.unwrap();
    assert_eq!(failure(a.request(fs(), request("x"))).await.kind, ErrorKind::Unavailable);
    server.restart().await.unwrap();
    is_connected(a.as_ref(), true).await;
    assert_eq!(within(messages.next()).await, Some(BusMessage::Gap), "what was before is not known");
    let b = node(&server.url(), "b").await;
    assert_eq!(within(response(b.request(fs(), request("x")))).await, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_cannot_be_made_is_a_clear_error() {
    let mut server = NatsServer::start_with(&["--user", "anna", "--pass", "s3cret-r"]).await.unwrap();
    let password = |password: &str| Credentials::Password { user: "anna".into(), password: password.into() };
    let with = |password: Credentials| {
        let mut config = config(&server.url(), "a", "t");
        config.connection.credentials = password;
        config
    };
    let wrong = with(password("s3cret-w"));
    let started = Instant::now();
    let error = Nats::connect(wrong).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(8), "it does not try again what was refused");
    assert!(error.public.contains("authorization"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");

    let a = Nats::connect(with(password("s3cret-r"))).await.unwrap();
    let in_address = server.url().replace("nats://", "nats://anna:s3cret%2Dr@");
    let b = Nats::connect(config(&in_address, "b", "t")).await.unwrap();
    for text in [b.describe(), format!("{b:?}"), format!("{a:?}")] {
        assert!(text.contains("127.0.0.1") && !text.contains("s3cret"), "{text}");
    }

    server.kill();
    let mut short = config(&server.url(), "a", "t");
    short.connection.connect_timeout = Duration::from_millis(300);
    let error = within(Nats::connect(short)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert!(error.public.contains("127.0.0.1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_at_the_server() {
    let server = NatsServer::start().await.unwrap();
    let servers_own = server.subscriptions().await.unwrap();
    let (a, b) = (node(&server.url(), "a").await, node(&server.url(), "b").await);
    let before = server.subscriptions().await.unwrap();
    let guards = [b.serve(on_fs(), echo()).await.unwrap(), b.serve(ServeOn::Node, echo()).await.unwrap()];
    let messages = a.subscribe("server").await.unwrap();
    for n in 0..20 {
        assert_eq!(response(a.request(fs(), request(n.to_string()))).await, n.to_string());
        drop(a.request(fs(), request("x")).next().await);
    }
    assert_eq!(server.subscriptions().await.unwrap(), before + 3, "calls make none");
    drop((guards, messages));
    let left = async |wanted: u64| {
        while server.subscriptions().await.unwrap() != wanted {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(left(before)).await;
    drop(a);
    b.close().await;
    within(left(servers_own)).await;
}
