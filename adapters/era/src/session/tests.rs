#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_mcp::codes;

use super::*;

mod input;
mod property;

fn json(text: &str) -> Json {
    Json::from_trusted(text.to_owned())
}

fn session() -> Session {
    let params = r#"{"protocolVersion":"2025-06-18","capabilities":{"roots":{"listChanged":true},"tasks":{}},"clientInfo":{"name":"c","version":"1"}}"#;
    Session::open(Some(&json(params))).unwrap()
}

fn request(method: &str, params: &str) -> Request {
    Request { id: RequestId::Number(1), method: Method::from(method), params: Some(json(params)) }
}

#[test]
fn the_revision_is_the_clients_when_a_session_speaks_it() {
    for (requested, expected) in [
        ("2025-11-25", Revision::V2025_11_25),
        ("2025-06-18", Revision::V2025_06_18),
        ("2025-03-26", Revision::V2025_03_26),
        ("2026-07-28", Revision::V2025_11_25),
        ("1999-01-01", Revision::V2025_11_25),
        ("", Revision::V2025_11_25),
    ] {
        assert_eq!(negotiate(requested), expected, "{requested}");
    }
    assert!(Session::open(None).is_err());
    assert!(Session::open(Some(&json("{}"))).is_err());
}

#[test]
fn initialize_is_answered_from_discover() {
    let discovered = json(
        r#"{"resultType":"complete","capabilities":{"tools":{},"resources":{},"extensions":{"x":{}}},"instructions":"hi",
        "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"n","version":"2"}},"ttlMs":1,"cacheScope":"public"}"#,
    );
    assert_eq!(
        session().initialize_result(&discovered).as_str(),
        concat!(
            r#"{"protocolVersion":"2025-06-18","capabilities":{"logging":{},"resources":{"subscribe":true,"listChanged":true},"#,
            r#""tools":{"listChanged":true}},"serverInfo":{"name":"n","version":"2"},"instructions":"hi"}"#
        )
    );
    let bare = session().initialize_result(&json("{}"));
    assert_eq!(bare.get("serverInfo").unwrap().get("name").unwrap().as_str(), "\"spanwire\"");
}

#[test]
fn calls_gain_the_metadata_of_a_modern_request() {
    let mut session = session();
    let Step::Call { method, params } = session.request(&request(
        "tools/call",
        r#"{"name":"t","_meta":{"progressToken":7,"io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}}"#,
    )) else {
        panic!("not a call")
    };
    assert_eq!(method, Method::ToolsCall);
    assert_eq!(
        params.to_value(),
        serde_json::json!({"name": "t", "_meta": {
            "progressToken": 7,
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
            "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
            "io.modelcontextprotocol/logLevel": "info",
        }})
    );
}

#[test]
fn the_log_level_is_kept() {
    let mut session = session();
    assert_eq!(session.request(&request("logging/setLevel", r#"{"level":"error"}"#)), empty());
    let params = session.canonical_params(None).to_value();
    assert_eq!(params["_meta"][meta::LOG_LEVEL], "error");
    let Step::Answer(Err(error)) = session.request(&request("logging/setLevel", r#"{"level":"loud"}"#)) else {
        panic!("accepted")
    };
    assert_eq!(error.json_rpc_code(), codes::INVALID_PARAMS);
}

fn empty() -> Step {
    Step::Answer(Ok(Json::empty_object()))
}

#[test]
fn subscriptions_become_one_filter() {
    let mut session = session();
    let subscribe = |session: &mut Session, uri: &str| {
        session.request(&request("resources/subscribe", &format!(r#"{{"uri":"{uri}"}}"#)))
    };
    assert_eq!(subscribe(&mut session, "a:1"), Step::Subscribe("a:1".into()));
    assert_eq!(subscribe(&mut session, "a:2"), Step::Subscribe("a:2".into()));
    assert_eq!(session.request(&request("resources/unsubscribe", r#"{"uri":"a:1"}"#)), Step::Unsubscribe);
    assert_eq!(session.request(&request("resources/unsubscribe", r#"{"uri":"a:1"}"#)), empty());
    assert_eq!(
        session.listen_params().get("notifications").unwrap().as_str(),
        r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:2"]}"#
    );
    for index in 0..MAX_SUBSCRIPTIONS - 1 {
        assert!(matches!(subscribe(&mut session, &format!("b:{index}")), Step::Subscribe(_)));
    }
    assert!(matches!(subscribe(&mut session, "c:1"), Step::Answer(Err(_))));
    assert!(matches!(session.request(&request("resources/subscribe", "{}")), Step::Answer(Err(_))));
    assert!(acknowledges(Some(&json(r#"{"notifications":{"resourceSubscriptions":["a:2"]}}"#)), "a:2"));
    assert!(!acknowledges(Some(&json(r#"{"notifications":{}}"#)), "a:2"));
}

#[test]
fn methods_of_the_other_era_are_unknown() {
    for method in ["server/discover", "subscriptions/listen", "roots/list", "notifications/cancelled"] {
        let Step::Answer(Err(error)) = session().request(&request(method, "{}")) else { panic!("{method} passed") };
        assert_eq!(error.kind, ErrorKind::MethodNotFound);
    }
    assert_eq!(session().request(&request("ping", "{}")), empty());
    assert!(matches!(session().request(&request("x/y", "{}")), Step::Call { method: Method::Other(_), .. }));
}

#[test]
fn notifications_of_the_client() {
    let hear = |method: &str, params: &str| {
        session().notification(&Notification { method: Method::from(method), params: Some(json(params)) })
    };
    assert_eq!(hear("notifications/initialized", "{}"), Heard::Initialized);
    assert_eq!(hear("notifications/cancelled", r#"{"requestId":7}"#), Heard::Cancelled(RequestId::Number(7)));
    assert_eq!(hear("notifications/cancelled", r#"{"requestId":null}"#), Heard::Nothing);
    assert_eq!(hear("notifications/roots/list_changed", "{}"), Heard::Nothing);
}

#[test]
fn results_lose_what_only_the_modern_era_has() {
    for (method, before, after) in [
        (Method::ToolsCall, r#"{"resultType":"complete","content":[]}"#, r#"{"content":[]}"#),
        (Method::ToolsCall, r#"{"content":[],"resultType":"complete"}"#, r#"{"content":[]}"#),
        (Method::ToolsCall, r#"{"resultType":"complete"}"#, "{}"),
        (
            Method::ToolsList,
            r#"{"resultType":"complete","tools":[{"ttlMs":1}],"ttlMs":5,"cacheScope":"private","nextCursor":"c"}"#,
            r#"{"tools":[{"ttlMs":1}],"nextCursor":"c"}"#,
        ),
        (Method::ToolsList, r#"{"tools":[]}"#, r#"{"tools":[]}"#),
    ] {
        assert_eq!(ending(&method, None, Ok(json(before))), Ending::Answer(Ok(json(after))));
    }
}

#[test]
fn errors_have_the_codes_of_their_revision() {
    let check = |method: Method, params: &str, error: Error, code: i64, data: Option<&str>| {
        let Ending::Answer(Err(error)) = ending(&method, Some(&json(params)), Err(error)) else { panic!("{method}") };
        let object = error.to_object();
        assert_eq!((object.code, object.data.as_ref().map(Json::as_str)), (code, data), "{method} {params}");
    };
    let own = || Error::new(ErrorKind::InvalidParams, "unknown resource \"a:1\"");
    let server = |data: Option<&str>| Error {
        code: Some(codes::INVALID_PARAMS),
        data: data.map(json),
        ..Error::new(ErrorKind::Server, "x")
    };
    check(Method::ResourcesRead, r#"{"uri":"a:1"}"#, own(), -32002, Some(r#"{"uri":"a:1"}"#));
    check(Method::ResourcesRead, "{}", own(), -32602, None);
    check(Method::ResourcesRead, r#"{"uri":7}"#, own(), -32602, None);
    check(Method::PromptsGet, r#"{"uri":"a:1"}"#, own(), -32602, None);
    let named = r#"{"uri":"b:2"}"#;
    check(Method::ResourcesRead, r#"{"uri":"a:1"}"#, server(Some(named)), -32002, Some(named));
    check(Method::ResourcesRead, r#"{"uri":"a:1"}"#, server(None), -32602, None);
    check(Method::ToolsCall, "{}", server(Some(named)), -32602, Some(named));
    let modern = Error { code: Some(-32021), ..Error::new(ErrorKind::Server, "x") };
    check(Method::ToolsCall, "{}", modern, -32603, None);
    check(Method::ToolsCall, "{}", Error::new(ErrorKind::MissingCapability, "x"), -32603, None);
}

#[test]
fn notifications_lose_the_subscription() {
    let pass = |method: Method, params: &str| {
        let heard = Notification { method, params: Some(json(params)) };
        notification(Revision::V2025_06_18, heard).map(|n| n.params.unwrap().as_str().to_owned())
    };
    let id = r#""io.modelcontextprotocol/subscriptionId":1"#;
    assert_eq!(
        pass(Method::ResourceUpdated, &format!(r#"{{"_meta":{{{id}}},"uri":"a:1"}}"#)).unwrap(),
        r#"{"uri":"a:1"}"#
    );
    assert_eq!(
        pass(Method::ResourceUpdated, &format!(r#"{{"_meta":{{{id},"x":2}}}}"#)).unwrap(),
        r#"{"_meta":{"x":2}}"#
    );
    assert_eq!(pass(Method::SubscriptionAcknowledged, "{}"), None);
    assert_eq!(pass(Method::ElicitationComplete, "{}"), None);
    let done = Notification { method: Method::ElicitationComplete, params: Some(json(r#"{"elicitationId":"e"}"#)) };
    assert_eq!(notification(Revision::V2025_11_25, done.clone()), Some(done));
}
