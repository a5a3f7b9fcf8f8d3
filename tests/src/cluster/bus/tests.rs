#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

#[test]
fn a_replica_is_late_unless_it_is_current_and_there() {
    let good = json!({ "replicas": [{ "name": "nats-1", "current": true }, { "name": "nats-2", "current": true }] });
    assert_eq!(late_replica(&good), None);
    let behind = json!({ "replicas": [{ "name": "nats-1", "current": true }, { "name": "nats-2", "current": false }] });
    assert_eq!(late_replica(&behind), Some("nats-2"));
    let away = json!({ "replicas": [{ "name": "nats-1", "current": true, "offline": true }] });
    assert_eq!(late_replica(&away), Some("nats-1"));
}

#[tokio::test]
async fn a_cluster_forms_through_its_proxies_and_is_whole_again_after_a_crash() {
    let mut bus = Bus::start(&Ground::plain(StoreSync::Cached)).await.unwrap();
    bus.member(0).kill();
    assert!(bus.missing().await.is_some());
    bus.member(0).restart().unwrap();
    bus.wait_whole().await.unwrap();
    bus.set_routes_of(1, Passage::Cut).unwrap();
    // Its leader notices when it does not hear from the server any more.
    let deadline = Instant::now() + WHOLE_TIMEOUT;
    while bus.missing().await.is_none() {
        assert!(Instant::now() < deadline, "the cut is not seen");
        sleep(LOOK_EVERY).await;
    }
    bus.set_routes_of(1, Passage::Open).unwrap();
    bus.wait_whole().await.unwrap();
    assert!(bus.streams().await.is_empty());
    assert_eq!(bus.held().await.unwrap().1, 0);
}
