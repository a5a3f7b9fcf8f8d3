use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use spanwire_model::Placed;
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
    node.control.change(|servers| servers.push(begun(server("new", "here", ServerState::Starting, 0), 0, None)));
    let (status, _, body) = get(&node, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"missing":["server \"new\" is starting"],"ready":false}"#);
    node.stop().await;
}

#[tokio::test]
async fn only_the_own_servers_and_the_backbone_hold_readiness_up() {
    let node = Node::start(None).await;
    let check = |state: ServerState, at: &str, restarts: u32, placed: Option<Placed>, expected: &[&str]| {
        let servers = vec![begun(server("git", at, state, 0), restarts, placed)];
        let inventory = Inventory { version: 1, servers, nodes: Vec::new(), wanted: Vec::new() };
        assert_eq!(missing(&node.control.status(), &inventory), expected);
    };
    check(ServerState::Starting, "here", 0, None, &["server \"git\" is starting"]);
    check(ServerState::Starting, "there", 0, None, &[]);
    check(ServerState::Down, "here", 0, None, &[]);
    // It was there, and is started again.
    check(ServerState::Starting, "here", 1, None, &[]);
    // It was taken over from another node.
    check(ServerState::Starting, "here", 0, Some(Placed { replica: 0, token: 7 }), &[]);
    let alone = Status { backbone_connected: false, ..node.control.status() };
    assert_eq!(missing(&alone, &Inventory::default()), ["backbone \"memory\" is not connected"]);
    node.stop().await;
}

/// The same server, started so many times again, and placed or not.
fn begun(mut server: Arc<ServerEntry>, restarts: u32, placed: Option<Placed>) -> Arc<ServerEntry> {
    let entry = Arc::make_mut(&mut server);
    (entry.health.restarts, entry.placed) = (restarts, placed);
    server
}
