//! Clients come and go, and leave nothing.

use futures::future::join_all;
use reqwest::{Method, RequestBuilder, Response, header};
use serde_json::{Value, json};
use spanwire_mcp::header as mcp;

use super::{
    eventually,
    rig::{Held, Reach, Rig},
    server::{Kind, Server},
};

/// A legacy client with a session of its own.
struct Session {
    http: reqwest::Client,
    url: String,
    id: String,
}

impl Session {
    async fn open(rig: &Rig) -> Self {
        let mut session = Self { http: rig.client.http.clone(), url: rig.near.mcp_url(""), id: String::new() };
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "0" }
        });
        let answer = session.post(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })).await;
        session.id = answer.headers()[mcp::SESSION_ID].to_str().unwrap().to_owned();
        let initialized = session.post(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        assert_eq!(initialized.status().as_u16(), 202);
        session
    }

    fn request(&self, method: Method) -> RequestBuilder {
        let request = self.http.request(method, &self.url);
        let request = request.header(header::ACCEPT, "application/json, text/event-stream");
        if self.id.is_empty() {
            return request;
        }
        request.header(mcp::SESSION_ID, &self.id).header(mcp::PROTOCOL_VERSION, "2025-11-25")
    }

    async fn post(&self, body: Value) -> Response {
        let request = self.request(Method::POST).header(header::CONTENT_TYPE, "application/json");
        request.body(body.to_string()).send().await.unwrap()
    }

    /// Calls `echo` and returns the whole answer.
    async fn echo(&self, id: u32, tool: &str) -> (u16, String) {
        let params = json!({ "name": tool, "arguments": { "text": "hello" } });
        let response = self.post(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn end(&self) -> u16 {
        self.request(Method::DELETE).send().await.unwrap().status().as_u16()
    }
}

async fn come_and_go(rig: &Rig, tool: &str, clients: u32) {
    let visits = (0..clients).map(async |n| {
        let session = Session::open(rig).await;
        // Every other one listens, and does not say when it stops.
        let listening = if n % 2 == 0 { Some(session.request(Method::GET).send().await.unwrap()) } else { None };
        let (status, text) = session.echo(n, tool).await;
        assert!(status == 200 && text.contains("hello"), "{status} {text}");
        drop(listening.filter(|_| n % 4 == 0));
        assert!((200..300).contains(&session.end().await));
        assert_eq!(session.echo(n, tool).await.0, 404, "the session is over");
    });
    join_all(visits).await;
}

async fn sessions_end(reach: Reach) {
    let server = Server::new("plain", Kind::StdioLegacy).await;
    let rig = Rig::start(reach, "", &[(&server, "")]).await;
    let tool = server.tool("echo");
    come_and_go(&rig, &tool, 20).await;
    rig.falls_silent().await;
    let (near, home) = (Held::by(&rig.near), Held::by(rig.home()));
    for _ in 0..3 {
        come_and_go(&rig, &tool, 20).await;
    }
    rig.falls_silent().await;
    near.is_back(&rig.near).await;
    home.is_back(rig.home()).await;
}

#[tokio::test]
async fn legacy_clients_leave_no_session() {
    join_all(Reach::BOTH.map(sessions_end)).await;
}

#[tokio::test]
async fn an_open_session_is_counted_until_it_ends() {
    let server = Server::new("plain", Kind::StdioModern).await;
    let rig = Rig::start(Reach::Here, "", &[(&server, "")]).await;
    let session = Session::open(&rig).await;
    let sessions = async || rig.near.metric("spanwire_sessions", &[]).await.unwrap();
    assert!((sessions().await - 1.0).abs() < 0.1);
    session.end().await;
    rig.falls_silent().await;
}

async fn broken_off(kind: Kind, reach: Reach) {
    let server = Server::new("hung", kind).await;
    let rig = Rig::start(reach, "", &[(&server, "max_in_flight = 100")]).await;
    const CALLS: usize = 40;
    let break_off = async |round: u32| {
        let tags: Vec<String> = (0..CALLS).map(|n| format!("{round}-{n}")).collect();
        let calls: Vec<_> = tags.iter().map(|tag| rig.client.begin("hung__hang", json!({ "tag": tag }))).collect();
        for tag in &tags {
            server.sees(&format!("started {tag}")).await;
        }
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        for tag in &tags {
            server.sees_end_of(tag).await;
        }
    };
    break_off(0).await;
    rig.falls_silent().await;
    let (near, home) = (Held::by(&rig.near), Held::by(rig.home()));
    for round in 1..4 {
        break_off(round).await;
    }
    rig.falls_silent().await;
    // A call and its cancellation may each leave a connection idle, for the next round to use: two for each call of one round, where
    // a leak would be one for each call of all three.
    let idle = if matches!(kind, Kind::HttpModern | Kind::HttpLegacy) { 2 * CALLS } else { 0 };
    if rig.far.is_some() {
        near.is_back(&rig.near).await;
    }
    home.is_back_but_for(rig.home(), idle).await;
    let look = async || (rig.near.metric("spanwire_calls_cancelled_total", &[]).await.unwrap() > 159.5).then_some(());
    eventually("every call that was broken off is counted", look).await;
}

#[tokio::test]
async fn calls_that_are_broken_off_leave_nothing() {
    join_all([Kind::StdioModern, Kind::HttpModern].map(|kind| broken_off(kind, Reach::Here))).await;
}

#[tokio::test]
async fn calls_that_are_broken_off_leave_nothing_across_nats() {
    join_all([Kind::StdioLegacy, Kind::HttpLegacy].map(|kind| broken_off(kind, Reach::Across))).await;
}
