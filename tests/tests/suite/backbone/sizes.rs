//! Sizes: what is large arrives whole, what is too large is an error.

use bytes::Bytes;
use futures::{StreamExt, stream};
use spanwire_model::{Address, ErrorKind, ServeOn};

use super::{
    fixture::{Fixture, MAX_MESSAGE_BYTES, request, server_id},
    handlers::{echo, end, failure, handler, message, next, response},
};

fn fs() -> Address {
    Address::Server(server_id("fs"))
}

fn on_fs() -> ServeOn {
    ServeOn::Server(server_id("fs"))
}

/// Bytes without a period that could hide a part in the wrong place.
fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.rotate_left(23).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

async fn both_ways(fixture: &Fixture, len: usize) {
    let payload = noise(len);
    let _guard = fixture.b.serve(on_fs(), echo()).await.unwrap();
    let answer = response(fixture.a.request(fs(), request(payload.clone()))).await;
    assert!(answer == payload, "{} bytes came back, or others", answer.len());
}

pub(super) async fn five_mebibytes_both_ways(fixture: &Fixture) {
    both_ways(fixture, 5 << 20).await;
}

pub(super) async fn eight_mebibytes_both_ways(fixture: &Fixture) {
    both_ways(fixture, (8 << 20) + 1).await;
}

pub(super) async fn large_frames_in_the_middle_of_a_reply(fixture: &Fixture) {
    let sizes = [0_usize, 1, 1 << 20, 2, 3 << 20, 700_000, (1 << 20) - 300, 5];
    let script = handler(move |_| {
        stream::iter(sizes.map(|size| message(noise(size)))).chain(stream::iter([end("done")])).boxed()
    });
    let _guard = fixture.b.serve(on_fs(), script).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    for size in sizes {
        assert!(next(&mut reply).await == message(noise(size)), "message of {size} bytes");
    }
    assert_eq!(response(reply).await, "done");
}

pub(super) async fn many_large_frames_to_a_slow_caller(fixture: &Fixture) {
    const FRAMES: usize = 40;
    let size = |n: usize| 150_000 + n * 10_000;
    let script = handler(move |_| {
        stream::iter((0..FRAMES).map(move |n| message(noise(size(n))))).chain(stream::iter([end("done")])).boxed()
    });
    let _guard = fixture.b.serve(on_fs(), script).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    for n in 0..FRAMES {
        assert!(next(&mut reply).await == message(noise(size(n))), "message {n}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await; // this is the slowness
    }
    assert_eq!(response(reply).await, "done");
}

pub(super) async fn a_request_above_the_limit_is_refused(fixture: &Fixture) {
    let _guard = fixture.b.serve(on_fs(), echo()).await.unwrap();
    let error = failure(fixture.a.request(fs(), request(vec![b'x'; MAX_MESSAGE_BYTES + 1]))).await;
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error:?}");
    assert_eq!(response(fixture.a.request(fs(), request("small"))).await, "small");
}

pub(super) async fn a_reply_above_the_limit_is_an_error(fixture: &Fixture) {
    let script = handler(|_| stream::iter([message("1"), end(vec![b'x'; MAX_MESSAGE_BYTES + 1])]).boxed());
    let _guard = fixture.b.serve(on_fs(), script).await.unwrap();
    let mut reply = fixture.a.request(fs(), request("x"));
    assert_eq!(next(&mut reply).await, message("1"));
    let error = failure(reply).await;
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error:?}");
}
