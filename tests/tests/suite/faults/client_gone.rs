//! A client closes its connection in mid-call.

use futures::future::join_all;
use serde_json::json;

use super::{
    eventually,
    rig::{Reach, Rig},
    server::{Kind, Server},
};

async fn client_leaves(kind: Kind, reach: Reach) {
    let server = Server::new("busy", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 1")]).await;
    let running = rig.client.begin("busy__hang", json!({ "tag": "a" }));
    server.sees("started a").await;
    // One that waits for the only slot: it leaves before it has begun.
    let waiting = rig.client.begin("busy__hang", json!({ "tag": "b" }));
    let look = async || (rig.near.metric("spanwire_calls_in_flight", &[]).await.unwrap() > 1.5).then_some(());
    eventually("both calls are in flight", look).await;
    waiting.abort();
    let look = async || (rig.near.metric("spanwire_calls_in_flight", &[]).await.unwrap() < 1.5).then_some(());
    eventually("the waiting call has left", look).await;

    running.abort();
    server.sees_end_of("a").await;
    // The slot is free: the next call is right, well within its deadline.
    assert_eq!(rig.client.call("busy__echo", json!({ "text": "next" })).await.text(), "next");
    assert!(!server.saw("started b"), "{kind:?} {reach:?}: {:?}", server.journal());
    let cancelled = rig.near.metric("spanwire_calls_cancelled_total", &[]).await.unwrap();
    assert!((cancelled - 2.0).abs() < 0.1, "{cancelled} calls are counted as cancelled");
    rig.falls_silent().await;
}

#[tokio::test]
async fn the_server_is_told_and_the_slot_is_free() {
    join_all(Kind::ALL.map(|kind| client_leaves(kind, Reach::Here))).await;
}

#[tokio::test]
async fn the_server_of_another_node_is_told_and_the_slot_is_free() {
    join_all(Kind::ALL.map(|kind| client_leaves(kind, Reach::Across))).await;
}

/// A client of 2025-11-25 in mid-call: its connection breaks once it has an id to come back with.
struct Old {
    http: reqwest::Client,
    url: String,
    session: String,
    /// The id of the last event.
    last: String,
}

impl Old {
    fn dress(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-session-id", &self.session)
    }

    async fn begin(rig: &Rig, tool: &str, arguments: serde_json::Value) -> Self {
        let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "old", "version": "1" } } });
        let (http, url) = (rig.client.http.clone(), rig.near.mcp_url(""));
        let mut old = Self { http, url, session: String::new(), last: String::new() };
        let request = old.http.post(&old.url).header("accept", "application/json, text/event-stream");
        let request = request.header("content-type", "application/json").body(initialize.to_string());
        let opened = request.send().await.unwrap();
        old.session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let params = json!({ "name": tool, "arguments": arguments });
        let mut stream =
            old.post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })).await;
        let mut text = String::new();
        while !text.contains("\n\n") {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
        old.last = text.strip_prefix("id: ").unwrap().lines().next().unwrap().to_owned();
        old
    }

    async fn post(&self, body: &serde_json::Value) -> reqwest::Response {
        self.dress(self.http.post(&self.url)).body(body.to_string()).send().await.unwrap()
    }

    async fn delete(&self) {
        assert_eq!(self.dress(self.http.delete(&self.url)).send().await.unwrap().status(), 204);
    }
}

/// A legacy client may come back: only when it does not, its call is cancelled.
async fn legacy_client_stays_away(kind: Kind, reach: Reach) {
    let server = Server::new("busy", kind).await;
    let rig = Rig::start(reach, "resume_timeout_ms = 300", &[(&server, "max_in_flight = 1")]).await;
    let old = Old::begin(&rig, "busy__hang", json!({ "tag": "a" })).await;
    server.sees("started a").await;
    server.sees_end_of("a").await;
    assert_eq!(rig.client.call("busy__echo", json!({ "text": "next" })).await.text(), "next");
    old.delete().await;
    rig.falls_silent().await;
}

/// It comes back, and reads what it would have read.
async fn legacy_client_comes_back(kind: Kind, reach: Reach) {
    let server = Server::new("busy", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "")]).await;
    let old = Old::begin(&rig, "busy__wait", json!({ "tag": "a", "file": server.file("go") })).await;
    server.sees("started a").await;
    std::fs::write(server.file("go"), "").unwrap();
    let request = old.dress(old.http.get(&old.url)).header("last-event-id", &old.last);
    let rest = request.send().await.unwrap();
    assert_eq!(rest.status(), 200);
    let text = rest.text().await.unwrap();
    assert!(text.contains("\"id\":1,") && text.contains("released"), "{kind:?} {reach:?}: {text}");
    old.delete().await;
    rig.falls_silent().await;
}

#[tokio::test]
async fn the_server_is_told_when_a_legacy_client_stays_away() {
    join_all(Kind::ALL.map(|kind| legacy_client_stays_away(kind, Reach::Here))).await;
    legacy_client_stays_away(Kind::StdioModern, Reach::Across).await;
}

#[tokio::test]
async fn a_legacy_client_comes_back_and_its_call_is_still_there() {
    join_all(Kind::ALL.map(|kind| legacy_client_comes_back(kind, Reach::Here))).await;
    legacy_client_comes_back(Kind::HttpModern, Reach::Across).await;
}
