//! A listener that serves one era only, as the other era's clients see it.

use spanwire_model::EraChoice;

use super::*;

async fn only(era: EraChoice) -> Node {
    node_with(|config, _| config.era = era).await
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"},
    }})
}

#[tokio::test]
async fn discovery_lists_what_the_listener_serves() {
    for (era, versions) in [
        (EraChoice::Auto, json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"])),
        (EraChoice::Modern, json!(["2026-07-28"])),
    ] {
        let node = only(era).await;
        let (status, body) = ask(node.post(&modern("server/discover", json!({})))).await;
        assert_eq!((status, &body["result"]["supportedVersions"]), (200, &versions), "{body}");
        assert_eq!(body["result"]["ttlMs"], 1000, "the rest stays");
    }
}

/// 2026-07-28, basic/versioning and basic/transports/streamable-http.
#[tokio::test]
async fn a_modern_listener_has_no_sessions() {
    let node = only(EraChoice::Modern).await;
    assert_eq!(ask(node.post(&call("echo"))).await.0, 200);
    assert_eq!(ask(node.post(&call("echo")).header("mcp-session-id", "stray")).await.0, 200, "ignored");

    let response = soon(accept_both(node.client.post(node.url())).body(initialize().to_string()).send()).await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.headers().get("mcp-session-id").is_none());
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((&body["id"], &body["error"]["code"]), (&json!(1), &json!(-32022)));
    assert_eq!(body["error"]["data"], json!({"supported": ["2026-07-28"], "requested": "2025-11-25"}));

    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let old = |version: Option<&str>| {
        let request = accept_both(node.client.post(node.url())).header("mcp-session-id", "a.b").body(ping.to_string());
        match version {
            Some(version) => request.header("mcp-protocol-version", version),
            None => request,
        }
    };
    for (version, code) in [(None, -32020), (Some("2025-06-18"), -32022), (Some("2099-01-01"), -32022)] {
        let (status, body) = ask(old(version)).await;
        assert_eq!((status, &body["error"]["code"], &body["id"]), (400, &json!(code), &json!(2)), "{version:?}");
    }
    let (status, body) =
        ask(accept_both(node.client.post(node.url())).header("mcp-session-id", "a.b").body(json!([ping]).to_string()))
            .await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32600)), "no batches");
    for request in [node.client.get(node.url()), node.client.delete(node.url())] {
        let request = request.header("accept", "text/event-stream").header("mcp-session-id", "a.b");
        let response = soon(request.send()).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
    }
}

/// A client of both eras takes a 400 without a modern error for an older server.
#[tokio::test]
async fn a_legacy_listener_looks_like_an_older_server() {
    let node = only(EraChoice::Legacy).await;
    for request in [
        node.post(&call("echo")),
        node.post(&modern("server/discover", json!({}))),
        node.post(&call("echo")).header("mcp-protocol-version", "2099-01-01"),
    ] {
        let (status, body) = ask(request).await;
        let code = body["error"]["code"].as_i64().unwrap();
        assert_eq!((status, code, &body["id"]), (400, -32600, &json!(1)), "{body}");
        assert!(!spanwire_mcp::codes::is_modern(code));
        assert!(body["error"]["message"].as_str().unwrap().contains("send initialize first"), "{body}");
    }
    assert!(node.double.calls.lock().unwrap().is_empty(), "a refused request was dispatched");

    let response = soon(accept_both(node.client.post(node.url())).body(initialize().to_string()).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}).to_string();
    let old = || accept_both(node.client.post(node.url())).header("mcp-session-id", &session);
    assert_eq!(ask(old().body(ping.clone())).await.0, 200);
    let (status, body) = ask(old().header("mcp-protocol-version", "2026-07-28").body(ping)).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32600)), "not the session's");
}
