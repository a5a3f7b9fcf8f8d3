use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use tower::ServiceExt;

use super::*;
use crate::missing;

async fn get(node: &Node, path: &str) -> (StatusCode, String, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = crate::http(node.control.clone()).oneshot(request).await.unwrap();
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, content_type, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn pages_for_probes_and_scrapers() {
    let node = Node::start(None).await;
    assert_eq!(get(&node, "/healthz").await.0, StatusCode::OK);
    let (status, content_type, body) = get(&node, "/metrics").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "# EOF\n"));
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (status, _, index) = get(&node, "/").await;
    assert_eq!(status, StatusCode::OK);
    for page in ["/mcp", "/healthz", "/readyz", "/metrics"] {
        assert!(index.contains(page), "{page}");
    }

    let (status, content_type, body) = get(&node, "/readyz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"missing":[],"ready":true}"#));
    assert_eq!(content_type, "application/json");
    node.control.change(|servers| servers.push(server("new", "here", ServerState::Starting, 0)));
    let (status, _, body) = get(&node, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"missing":["server \"new\" is starting"],"ready":false}"#);
    node.stop().await;
}

#[tokio::test]
async fn only_the_own_servers_and_the_backbone_hold_readiness_up() {
    let node = Node::start(None).await;
    let check = |state: ServerState, at: &str, connected: bool, expected: &[&str]| {
        let status = Status { backbone_connected: connected, ..node.control.status() };
        let inventory =
            Inventory { version: 1, servers: vec![server("git", at, state, 0)], nodes: Vec::new(), wanted: Vec::new() };
        assert_eq!(missing(&status, &inventory), expected);
    };
    check(ServerState::Starting, "here", true, &["server \"git\" is starting"]);
    check(ServerState::Starting, "there", true, &[]);
    check(ServerState::Down, "here", true, &[]);
    check(ServerState::Ready, "here", false, &["backbone \"memory\" is not connected"]);
    node.stop().await;
}
