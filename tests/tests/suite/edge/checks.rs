//! What is checked before a request becomes a call: each with its exact status and code.

use serde_json::{Value, json};

use super::*;

/// Replaces a header; an empty value removes it.
async fn with_header(node: &Node, body: &Value, name: &'static str, value: &'static [u8]) -> (u16, Value) {
    let mut request = node.post(body).build().unwrap();
    request.headers_mut().remove(name);
    if !value.is_empty() {
        request.headers_mut().insert(name, reqwest::header::HeaderValue::from_bytes(value).unwrap());
    }
    let response = soon(node.client.execute(request)).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn headers_are_checked_one_by_one() {
    let node = node().await;
    for (name, value, status, code, text) in [
        ("origin", "http://evil.example", 403, 40300, "Origin \"http://evil.example\""),
        ("origin", "null", 403, 40300, "Origin"),
        ("origin", "http://localhost:5173", 200, 0, ""),
        ("host", "evil.example", 403, 40300, "Host \"evil.example\""),
        ("host", "localhost:1", 200, 0, ""),
        ("content-type", "text/plain", 415, -32600, "Content-Type"),
        ("content-type", "", 415, -32600, "Content-Type"),
        ("content-type", "application/json; charset=utf-8", 200, 0, ""),
        ("accept", "application/json", 406, -32600, "text/event-stream is missing"),
        ("accept", "text/html", 406, -32600, "Accept"),
        ("accept", "*/*", 200, 0, ""),
        ("authorization", "Bearer stolen", 401, 40100, "unknown bearer token"),
        ("authorization", "Bearer ann-token", 200, 0, ""),
        ("mcp-protocol-version", "", 400, -32020, "required header MCP-Protocol-Version is missing"),
        ("mcp-protocol-version", "1900-01-01", 400, -32022, "1900-01-01"),
        ("mcp-protocol-version", "2025-11-25", 400, -32020, "\"2025-11-25\" does not match"),
        ("mcp-method", "", 400, -32020, "required header Mcp-Method is missing"),
        ("mcp-method", "tools/list", 400, -32020, "Mcp-Method \"tools/list\" does not match method \"tools/call\""),
        ("mcp-method", "Tools/Call", 400, -32020, "Mcp-Method"),
        ("mcp-name", "", 400, -32020, "required header Mcp-Name is missing"),
        ("mcp-name", "other", 400, -32020, "Mcp-Name \"other\" does not match params.name \"echo\""),
        ("mcp-name", "=?base64?ZWNobw==?=", 200, 0, ""),
        ("mcp-name", "=?base64?***?=", 400, -32020, "Base64"),
        ("mcp-session-id", "stray", 200, 0, ""),
    ] {
        let (got, body) = with_header(&node, &call("echo"), name, value.as_bytes()).await;
        assert_eq!(got, status, "{name}: {value}: {body}");
        if code != 0 {
            assert_eq!(body["error"]["code"], code, "{name}: {value}: {body}");
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.contains(text), "{name}: {value}: {message}");
            // What was read is answered with its id; before that there is none.
            let id =
                if matches!(name, "mcp-protocol-version" | "mcp-method" | "mcp-name") { json!(1) } else { Value::Null };
            assert_eq!(body["id"], id, "{name}: {value}");
            assert!(!body.to_string().contains("\"id\":null"));
        }
    }
    let (status, body) = with_header(&node, &call("echo"), "mcp-name", b"\xff").await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!(-32020)));
}

/// 2026-07-28, streamable-http, "Server Behavior for Custom Headers".
#[tokio::test]
async fn mirrored_arguments_are_compared_with_their_headers() {
    let node = node().await;
    let send = |arguments: &str, headers: &[(&'static str, &'static str)]| {
        // Spliced, so that a key can come twice.
        let body = modern("tools/call", json!({"name": "sql", "arguments": "HERE"}));
        let body = body.to_string().replace("\"HERE\"", arguments);
        let request = node.post(&modern("tools/call", json!({"name": "sql"}))).body(body);
        ask(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    };
    let region = r#"{"region":"us-west1"}"#;
    for (arguments, headers, expected) in [
        (region, &[("mcp-param-region", "us-west1")][..], None),
        (region, &[("MCP-PARAM-REGION", "us-west1")], None),
        (region, &[("mcp-param-region", "  us-west1 ")], None),
        (region, &[("mcp-param-region", "=?base64?dXMtd2VzdDE=?=")], None),
        // Headers that no tool asks for pass.
        (region, &[("mcp-param-region", "us-west1"), ("mcp-param-query", "x")], None),
        (region, &[], Some("required header Mcp-Param-Region is missing")),
        (region, &[("mcp-param-region", "us-east1")], Some("does not match params.arguments.region")),
        (region, &[("mcp-param-region", "US-WEST1")], Some("does not match")),
        (region, &[("mcp-param-region", "=?base64?dXMtd2VzdDE?=")], Some("no valid Base64")),
        (region, &[("mcp-param-region", "=?base64?dXMt!!d2VzdDE=?=")], Some("no valid Base64")),
        (region, &[("mcp-param-region", "us-west1"), ("mcp-param-region", "us-west1")], Some("more than once")),
        (r#"{"region":"=?base64?SGVsbG8="}"#, &[("mcp-param-region", "=?base64?SGVsbG8=")], None),
        (r#"{"region":""}"#, &[("mcp-param-region", "")], None),
        (r#"{"region":"a","region":"b"}"#, &[("mcp-param-region", "a")], Some("comes more than once")),
        (r#"{"region":null}"#, &[], None),
        (r#"{"region":null}"#, &[("mcp-param-region", "null")], Some("has no params.arguments.region")),
        ("{}", &[], None),
        ("{}", &[("mcp-param-limit", "1")], Some("has no params.arguments.limit")),
        (r#"{"limit":42}"#, &[("mcp-param-limit", "42.0")], None),
        (r#"{"limit":42}"#, &[("mcp-param-limit", "43")], Some("does not match")),
        (r#"{"limit":9007199254740993}"#, &[], None),
        (r#"{"limit":9007199254740993}"#, &[("mcp-param-limit", "9007199254740992")], Some("does not match")),
        (r#"{"options":{"dry":true}}"#, &[("mcp-param-dry-run", "true")], None),
        (r#"{"options":{"dry":true}}"#, &[], Some("params.arguments.options.dry")),
        (r#"{"options":{"dry":true}}"#, &[("mcp-param-dry-run", "false")], Some("does not match")),
    ] {
        let (status, body) = send(arguments, headers).await;
        match expected {
            None => assert_eq!(status, 200, "{arguments} {headers:?}: {body}"),
            Some(text) => {
                assert_eq!((status, &body["error"]["code"], &body["id"]), (400, &json!(-32020), &json!(1)), "{body}");
                assert!(body["error"]["message"].as_str().unwrap().contains(text), "{arguments} {headers:?}: {body}");
            }
        }
    }
    // Other tools mirror nothing.
    let (status, _) = ask(node.post(&call("echo")).header("mcp-param-region", "x")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn bodies_are_checked() {
    let node = node_with(|config, _| config.max_body_bytes = 2048).await;
    let send = |body: String| {
        let request = accept_both(node.client.post(node.url())).header("mcp-protocol-version", "2026-07-28");
        ask(request.header("mcp-method", "tools/list").body(body))
    };
    let without = |key: &str| {
        let mut body = modern("tools/list", json!({}));
        body["params"]["_meta"].as_object_mut().unwrap().remove(key).unwrap();
        body.to_string()
    };
    for (body, status, code, id) in [
        ("{".to_owned(), 400, -32700, Value::Null),
        (String::new(), 400, -32700, Value::Null),
        ("[]".to_owned(), 400, -32600, Value::Null),
        ("7".to_owned(), 400, -32600, Value::Null),
        (r#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#.to_owned(), 400, -32600, json!(1)),
        (r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#.to_owned(), 400, -32602, json!("a")),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(), 400, -32600, Value::Null),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":7}}"#.to_owned(), 400, -32602, json!(1)),
        (without("io.modelcontextprotocol/protocolVersion"), 400, -32602, json!(1)),
        (without("io.modelcontextprotocol/clientCapabilities"), 400, -32602, json!(1)),
        (format!("\"{}\"", "x".repeat(3000)), 413, -32600, Value::Null),
    ] {
        let (got, answer) = send(body.clone()).await;
        assert_eq!((got, &answer["error"]["code"], &answer["id"]), (status, &json!(code), &id), "{body}: {answer}");
    }
    assert!(node.double.calls.lock().unwrap().is_empty(), "a refused request was dispatched");
}

#[tokio::test]
async fn versions_are_listed_when_one_is_unknown() {
    let node = node().await;
    let (_, body) = with_header(&node, &call("echo"), "mcp-protocol-version", b"1900-01-01").await;
    let supported = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]);
    assert_eq!(body["error"]["data"], json!({"supported": supported, "requested": "1900-01-01"}));
}

#[tokio::test]
async fn outcomes_have_the_status_of_the_error_table() {
    let node = node().await;
    for (body, status, code) in [
        (call("nothing"), 200, -32602),
        // -32002 is gone from the modern revision.
        (call("missing"), 200, -32602),
        (call("busy"), 429, 42900),
        (modern("x/unknown", json!({})), 404, -32601),
        (modern("ping", json!({})), 404, -32601),
        (modern("resources/subscribe", json!({"uri": "a:b"})), 404, -32601),
    ] {
        let (got, answer) = ask(node.post(&body)).await;
        assert_eq!((got, &answer["error"]["code"], &answer["id"]), (status, &json!(code), &json!(1)), "{body}");
    }
}

#[tokio::test]
async fn other_methods_and_messages() {
    let node = node().await;
    let get = node.client.get(node.url());
    for request in [get, node.client.delete(node.url()), node.client.put(node.url())] {
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "POST");
    }
    let response = soon(node.post(&call("echo")).header("authorization", "Basic eDp5").send()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let (status, body) = ask(node.post(&notification)).await;
    assert_eq!((status, body), (202, Value::Null));
    // Neither era: the answer helps both.
    let bare = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"});
    let (status, body) = ask(accept_both(node.client.post(node.url())).body(bare.to_string())).await;
    assert_eq!((status, &body["id"]), (400, &json!(9)));
    let text = body["error"]["message"].as_str().unwrap();
    assert!(text.contains("2026-07-28") && text.contains("initialize"), "{text}");
}

#[tokio::test]
async fn a_call_carries_what_the_edge_knows() {
    let node = node().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = modern("tools/call", json!({"name": "gr\u{fc}\u{df}e", "_meta": {"traceparent": parent, "x": 1}}));
    let mut request = node.post(&body).header("authorization", "Bearer ann-token").build().unwrap();
    let headers = request.headers_mut();
    headers.insert("mcp-name", "=?base64?Z3LDvMOfZQ==?=".parse().unwrap());
    headers.insert("traceparent", "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
    *request.url_mut() = format!("{}/work", node.url()).parse().unwrap();
    let response = soon(node.client.execute(request)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let text = response.text().await.unwrap();
    assert!(text.starts_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"resultType\":\"complete\", "), "{text}");
    let call = node.double.last();
    assert_eq!(&*call.principal.name, "ann");
    assert_eq!(call.view.as_deref(), Some("work"));
    assert_eq!(call.params.as_str(), body["params"].to_string());
    assert_eq!(call.parent.unwrap().traceparent(), parent);
    assert_eq!(call.id.get_version_num(), 7);
    assert!(call.client.address.unwrap().ip().is_loopback());
    assert_eq!(call.client.request_id.as_deref(), Some("1"));

    let body = modern("tools/call", json!({"name": "echo", "_meta": {"traceparent": "rubbish"}}));
    assert_eq!(ask(node.post(&body)).await.0, 200);
    assert_eq!(node.double.last().parent, None);

    let mut request = node.post(&super::call("echo")).build().unwrap();
    *request.url_mut() = format!("{}/nowhere", node.url()).parse().unwrap();
    let response = soon(node.client.execute(request)).await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("unknown view \\\"nowhere\\\""));
}

/// What a browser asks before a page may call, and what it needs to let the page read the answer.
#[tokio::test]
async fn pages_of_allowed_origins_may_call() {
    let node = node().await;
    let preflight = |origin: &'static str, asked: &'static str| {
        let request = node.client.request(reqwest::Method::OPTIONS, node.url()).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        soon(request.header("access-control-request-headers", asked).send())
    };
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let page = "http://localhost:5173";
    let asked = "authorization,content-type,Mcp-Method,mcp-param-region,mcp-protocol-version,x-evil,mcp-param-";
    let response = preflight(page, asked).await.unwrap();
    assert_eq!(response.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", page),
        ("access-control-allow-methods", "GET, POST, DELETE"),
        (
            "access-control-allow-headers",
            "authorization, content-type, mcp-method, mcp-param-region, mcp-protocol-version",
        ),
        ("access-control-allow-credentials", ""),
        ("vary", "origin, access-control-request-method, access-control-request-headers"),
    ] {
        assert_eq!(header(&response, name), value, "{name}");
    }
    for origin in ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:5173/"] {
        let response = preflight(origin, asked).await.unwrap();
        assert_eq!(response.status(), 403, "{origin}");
        assert_eq!(header(&response, "access-control-allow-origin"), "", "{origin}");
        assert_eq!(header(&response, "vary"), "origin");
    }
    // The answer itself, whatever it is: a page that may not read a refusal cannot say what is wrong.
    for (tool, token, status) in [("echo", "Bearer ann-token", 200), ("echo", "Bearer stolen", 401)] {
        let request = node.post(&call(tool)).header("origin", page).header("authorization", token);
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "access-control-allow-origin"), page);
        assert_eq!(header(&response, "access-control-expose-headers"), "mcp-session-id, www-authenticate");
        assert_eq!(header(&response, "vary"), "origin");
    }
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "p", "version": "1"}}});
    let request = accept_both(node.client.post(node.url())).header("origin", page).body(initialize.to_string());
    let response = soon(request.send()).await.unwrap();
    assert_ne!(header(&response, "mcp-session-id"), "");
    assert!(header(&response, "access-control-expose-headers").contains("mcp-session-id"));
    // Without an origin nothing of it is said, and OPTIONS is no way to call.
    let response = soon(node.post(&call("echo")).send()).await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin") + &header(&response, "vary"), "");
    let bare = node.client.request(reqwest::Method::OPTIONS, node.url()).header("origin", page);
    assert_eq!(soon(bare.send()).await.unwrap().status(), 405);
}
