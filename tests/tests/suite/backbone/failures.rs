//! A reply that cannot be completed ends with an error, and soon.

use futures::{StreamExt, stream};
use spanwire_model::{Address, ErrorKind, Frame, ServeOn};

use super::{
    fixture::{Fixture, request, server_id},
    handlers::{echo, failure, handler, message, next, response, stuck_after},
};

fn fs() -> Address {
    Address::Server(server_id("fs"))
}

fn on_fs() -> ServeOn {
    ServeOn::Server(server_id("fs"))
}

#[allow(unreachable_code)]
pub(super) async fn a_handler_that_panics_is_an_error(fixture: &Fixture) {
    let at_once = handler(|_| panic!("on purpose, at once"));
    let later = handler(|_| {
        stream::iter([message("1")]).chain(stream::once(async { panic!("on purpose, later") as Frame })).boxed()
    });
    for script in [at_once, later] {
        let guard = fixture.b.serve(on_fs(), script).await.unwrap();
        let error = failure(fixture.a.request(fs(), request("x"))).await;
        assert_eq!(error.kind, ErrorKind::Internal, "{error:?}");
        assert!(!error.public.contains("on purpose"), "a panic's text stays here");
        drop(guard);
    }
    let _guard = fixture.c.serve(on_fs(), echo()).await.unwrap();
    let mut answer = fixture.a.request(fs(), request("still there"));
    assert!(answer.next().await.is_some());
}

pub(super) async fn a_handler_that_ends_without_a_response_is_an_error(fixture: &Fixture) {
    for frames in [vec![], vec![message("1"), message("2")]] {
        let script = handler(move |_| stream::iter(frames.clone()).boxed());
        let guard = fixture.b.serve(on_fs(), script).await.unwrap();
        let error = failure(fixture.a.request(fs(), request("x"))).await;
        assert_eq!(error.kind, ErrorKind::Internal, "{error:?}");
        assert!(error.public.contains("\"b\""), "it names the node: {error}");
        drop(guard);
    }
}

pub(super) async fn closing_the_serving_node_loses_its_streams(fixture: &Fixture) {
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let _guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("1"));
    fixture.b.close().await;
    assert!(dropped.is_set(), "closing waits for what it drops");
    let error = failure(reply).await;
    assert_eq!(error.kind, ErrorKind::StreamLost, "{error:?}");
    assert!(error.public.contains("\"b\""), "it names the node: {error}");
    let _other = fixture.c.serve(on_fs(), echo()).await.unwrap();
    assert_eq!(response(fixture.a.request(fs(), request("x"))).await, "x");
}

pub(super) async fn closing_the_calling_node_drops_the_handlers_stream(fixture: &Fixture) {
    let (stuck, _, dropped) = stuck_after(vec![message("1")]);
    let _guard = fixture.b.serve(on_fs(), stuck).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("1"));
    fixture.a.close().await;
    let error = failure(reply).await;
    assert_eq!(error.kind, ErrorKind::StreamLost, "{error:?}");
    dropped.happened().await;
}

pub(super) async fn a_closed_node_calls_nobody(fixture: &Fixture) {
    let _guard = fixture.b.serve(on_fs(), echo()).await.unwrap();
    fixture.a.close().await;
    fixture.a.close().await;
    assert!(!fixture.a.is_connected());
    let error = failure(fixture.a.request(fs(), request("x"))).await;
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error:?}");
    assert!(fixture.a.serve(on_fs(), echo()).await.is_err());
    assert!(fixture.a.subscribe("node").await.is_err());
}
