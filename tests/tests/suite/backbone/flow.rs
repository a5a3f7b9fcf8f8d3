//! A slow caller slows the handler down; dropping a reply cancels; the budget ends a call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream};
use spanwire_model::{Address, BusRequest, ErrorKind, Frame, ServeOn};

use super::{
    fixture::{Fixture, WINDOW, request, server_id},
    handlers::{Signal, echo, end, failure, handler, message, next, progress, response, stuck_after},
};

fn fs() -> Address {
    Address::Server(server_id("fs"))
}

fn on_fs() -> ServeOn {
    ServeOn::Server(server_id("fs"))
}

pub(super) async fn progress_is_merged_while_the_caller_is_slow(fixture: &Fixture) {
    const PROGRESS: usize = 5_000;
    let all_made = Signal::default();
    let made = all_made.clone();
    let script = handler(move |_| {
        let made = made.clone();
        let first = stream::iter([message("started")]);
        let steps = stream::iter((1..=PROGRESS).map(|n| progress(n.to_string())));
        let last = stream::once(async move {
            made.set();
            message("last")
        });
        first.chain(steps).chain(last).chain(stream::iter([end("done")])).boxed()
    });
    let _guard = fixture.b.serve(on_fs(), script).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("started"));
    all_made.happened().await;
    let mut seen = Vec::new();
    let after = loop {
        match next(&mut reply).await {
            Frame::Progress(payload) => seen.push(String::from_utf8_lossy(&payload).parse::<usize>().unwrap()),
            other => break other,
        }
    };
    assert_eq!(after, message("last"));
    assert!(seen.is_sorted() && seen.len() <= 2 * WINDOW, "{} of {PROGRESS} were not merged", seen.len());
    assert_eq!(seen.last(), Some(&PROGRESS), "the latest one matters");
    assert!(matches!(next(&mut reply).await, Frame::End { .. }));
}

pub(super) async fn a_slow_caller_slows_the_handler_down(fixture: &Fixture) {
    const MESSAGES: usize = 400;
    /// One frame in the handler's backlog and one that the caller holds.
    const SLACK: usize = 4;
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let script = handler(move |_| {
        let count = count.clone();
        let messages = stream::iter(0..MESSAGES).map(move |n| {
            count.fetch_add(1, Ordering::SeqCst);
            message(n.to_string())
        });
        messages.chain(stream::iter([end("done")])).boxed()
    });
    let _guard = fixture.b.serve(on_fs(), script).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    for n in 0..MESSAGES {
        assert_eq!(next(&mut reply).await, message(n.to_string()));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let ahead = made.load(Ordering::SeqCst).saturating_sub(n + 1);
        assert!(ahead <= WINDOW + SLACK, "the handler is {ahead} frames ahead");
    }
    assert!(matches!(next(&mut reply).await, Frame::End { .. }));
}

pub(super) async fn every_message_arrives_however_slow_the_caller(fixture: &Fixture) {
    const MESSAGES: usize = 500;
    let script = handler(|_| {
        let both = (0..MESSAGES).flat_map(|n| [progress(n.to_string()), message(n.to_string())]);
        stream::iter(both).chain(stream::iter([end("done")])).boxed()
    });
    let _guard = fixture.b.serve(on_fs(), script).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    let (mut messages, mut steps) = (Vec::new(), Vec::new());
    loop {
        match next(&mut reply).await {
            Frame::Message(payload) => messages.push(String::from_utf8_lossy(&payload).parse::<usize>().unwrap()),
            Frame::Progress(payload) => steps.push(String::from_utf8_lossy(&payload).parse::<usize>().unwrap()),
            Frame::End { .. } => break,
        }
        if messages.len().is_multiple_of(100) {
            tokio::time::sleep(Duration::from_millis(20)).await; // this is the slowness
        }
    }
    assert!(messages.into_iter().eq(0..MESSAGES));
    assert!(steps.is_sorted());
}

pub(super) async fn nothing_happens_before_the_first_poll(fixture: &Fixture) {
    let (stuck, started, _) = stuck_after(Vec::new());
    let _guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    drop(fixture.a.request(fs(), request("x")));
    // A second request arrives after the first one would have.
    let (marker, marked, _) = stuck_after(Vec::new());
    let _marker = fixture.b.serve(ServeOn::Server(server_id("marker")), marker).await.unwrap();
    let mut reply = fixture.a.request(Address::Server(server_id("marker")), request("x"));
    assert!(reply.next().now_or_never().is_none());
    marked_while_polled(&mut reply, &marked).await;
    assert!(!started.is_set());
    assert_eq!(fixture.a.in_flight()["requests"], 1);
}

async fn marked_while_polled(reply: &mut spanwire_model::BusReply, signal: &Signal) {
    tokio::select! {
        item = reply.next() => panic!("unexpected: {item:?}"),
        () = signal.happened() => {}
    }
}

pub(super) async fn a_reply_dropped_before_its_first_frame_cancels(fixture: &Fixture) {
    let (stuck, started, dropped) = stuck_after(Vec::new());
    let _guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    marked_while_polled(&mut reply, &started).await;
    assert!(!dropped.is_set());
    drop(reply);
    dropped.happened().await;
}

pub(super) async fn a_reply_dropped_after_its_first_frame_cancels(fixture: &Fixture) {
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let _guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("1"));
    assert!(!dropped.is_set());
    drop(reply);
    dropped.happened().await;
}

pub(super) async fn the_budget_ends_a_call(fixture: &Fixture) {
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let _guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    let short = BusRequest { budget: Duration::from_millis(400), ..request("x") };
    let error = failure(fixture.a.request(fs(), short)).await;
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{error:?}");
    dropped.happened().await;
    let none = BusRequest { budget: Duration::ZERO, ..request("x") };
    assert_eq!(failure(fixture.a.request(fs(), none)).await.kind, ErrorKind::DeadlineExceeded);
}

pub(super) async fn a_budget_may_be_without_measure(fixture: &Fixture) {
    let _guard = fixture.b.serve(on_fs(), echo()).await.unwrap();
    let endless = BusRequest { budget: Duration::MAX, ..request("x") };
    assert_eq!(response(fixture.a.request(fs(), endless)).await, "x");
}
