//! Messages that are large, and too large.

use futures::future::join_all;
use serde_json::json;
use spanwire_tests::fault_server::{digest, filler};

use super::{
    rig::{Reach, Rig},
    server::{Kind, Server},
};

const MIB: usize = 1 << 20;
const LARGE: usize = 8 * MIB;

async fn large(kind: Kind, reach: Reach) {
    let server = Server::new("large", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 1")]).await;
    let text = filler(LARGE);
    let answer = rig.client.call("large__big", json!({ "bytes": LARGE })).await;
    assert_eq!(digest(answer.text()), digest(&text), "{kind:?} {reach:?}: the reply");
    let answer = rig.client.call("large__digest", json!({ "text": text })).await;
    assert_eq!(answer.text(), format!("{LARGE} {}", digest(&text)), "{kind:?} {reach:?}: the request");
    rig.falls_silent().await;
}

#[tokio::test]
async fn eight_mib_over_stdio() {
    large(Kind::StdioModern, Reach::Here).await;
}

#[tokio::test]
async fn eight_mib_over_http() {
    large(Kind::HttpModern, Reach::Here).await;
}

#[tokio::test]
async fn eight_mib_over_stdio_across_nats() {
    large(Kind::StdioModern, Reach::Across).await;
}

#[tokio::test]
async fn eight_mib_over_http_across_nats() {
    large(Kind::HttpModern, Reach::Across).await;
}

async fn too_large(kind: Kind, reach: Reach) {
    let server = Server::new("large", kind).await;
    let limit = format!("max_body_bytes = {}", 2 * MIB);
    let rig = Rig::start(reach, &limit, &[(&server, "max_in_flight = 1")]).await;
    let answer = rig.client.call("large__big", json!({ "bytes": 3 * MIB })).await;
    answer.must_be(-32600, "too_large", "never", "\"large\"");
    assert_eq!(answer.status, 413, "{kind:?} {reach:?}");
    let answer = rig.client.call("large__echo", json!({ "text": filler(3 * MIB) })).await;
    answer.must_be(-32600, "too_large", "never", "bytes");
    assert_eq!(answer.status, 413, "{kind:?} {reach:?}");
    // What fits still passes, and the slot is free.
    let answer = rig.client.call("large__big", json!({ "bytes": MIB })).await;
    assert_eq!(digest(answer.text()), digest(&filler(MIB)), "{kind:?} {reach:?}");
    rig.falls_silent().await;
}

#[tokio::test]
async fn above_the_limit_is_an_error_of_its_own() {
    join_all(Kind::ALL.map(|kind| too_large(kind, Reach::Here))).await;
}

#[tokio::test]
async fn above_the_limit_is_an_error_of_its_own_across_nats() {
    join_all(Kind::ALL.map(|kind| too_large(kind, Reach::Across))).await;
}
