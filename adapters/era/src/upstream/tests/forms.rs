//! Params on the way out, results and notifications on the way in: pure tables.

use spanwire_model::TraceContext;

use super::{
    super::{
        incoming::{complete, is_wanted, progress, without_subscription_id},
        outgoing::Outgoing,
    },
    *,
};

fn trace() -> TraceContext {
    TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=b")).unwrap()
}

const PARENT: &str = r#""traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b""#;

#[test]
fn params_for_a_legacy_server() {
    let check = |params: &str, token: Option<i64>, traced: bool, expected: &str| {
        let trace = traced.then(trace);
        let out = Outgoing { params: &json(params), progress_token: token, trace: trace.as_ref() }.legacy();
        assert_eq!(out.as_str(), expected);
    };
    check("{}", None, false, "{}");
    check(r#"{"name":"a","_meta":{"io.modelcontextprotocol/clientInfo":{}}}"#, None, false, r#"{"name":"a"}"#);
    check(
        r#"{"_meta":{"io.modelcontextprotocol/logLevel":"info","my.org/key":[1, 2],"baggage":"k=v"},"name":"a"}"#,
        None,
        false,
        r#"{"_meta":{"my.org/key":[1, 2],"baggage":"k=v"},"name":"a"}"#,
    );
    check(r#"{"_meta":{"progressToken":"mine"}}"#, Some(7), false, r#"{"_meta":{"progressToken":7}}"#);
    check(r#"{"_meta":{"progressToken":null,"x":1}}"#, None, false, r#"{"_meta":{"x":1}}"#);
    check("{}", None, true, &format!(r#"{{"_meta":{{{PARENT}}}}}"#));
    // What a retry brings is for us.
    let retry = r#"{"name":"a","requestState":"s","inputResponses":{"k":{}},"_meta":{"io.modelcontextprotocol/x":1}}"#;
    check(retry, None, false, r#"{"name":"a"}"#);
    check(retry, Some(7), false, r#"{"name":"a","_meta":{"progressToken":7}}"#);
    check(r#"{"inputResponses":{},"requestState":"s"}"#, Some(7), false, r#"{"_meta":{"progressToken":7}}"#);
}

#[test]
fn params_for_a_modern_server() {
    let check = |params: &str, token: Option<i64>, traced: bool, expected: &str| {
        let trace = traced.then(trace);
        let out = Outgoing { params: &json(params), progress_token: token, trace: trace.as_ref() };
        let out = out.modern(Revision::V2026_07_28, &json(r#"{"name":"us"}"#));
        assert_eq!(out.as_str(), expected);
    };
    let (version, capabilities, info) = (
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
        r#""io.modelcontextprotocol/clientCapabilities":"#,
        r#""io.modelcontextprotocol/clientInfo":"#,
    );
    let ours = format!(r#"{version},{capabilities}{{}},{info}{{"name":"us"}}"#);
    check("{}", None, false, &format!(r#"{{"_meta":{{{ours}}}}}"#));
    check(r#"{"a":1}"#, Some(3), true, &format!(r#"{{"a":1,"_meta":{{{ours},"progressToken":3,{PARENT}}}}}"#));
    check(
        &format!(r#"{{"_meta":{{{capabilities}{{"roots":{{}}}},{info}{{"name":"them"}},"k":1}}}}"#),
        None,
        false,
        &format!(r#"{{"_meta":{{{capabilities}{{"roots":{{}}}},{info}{{"name":"them"}},"k":1,{version}}}}}"#),
    );
}

#[test]
fn results_of_a_legacy_server() {
    let check = |method: Method, result: &str, expected: &str| {
        assert_eq!(complete(&method, &json(result)).unwrap().as_str(), expected);
    };
    check(Method::ToolsCall, r#"{"content": [ ]}"#, r#"{"resultType":"complete","content": [ ]}"#);
    check(Method::ToolsCall, "{ }", r#"{"resultType":"complete"}"#);
    check(Method::ToolsCall, r#"{"resultType":"task","a":1}"#, r#"{"resultType":"task","a":1}"#);
    check(
        Method::ToolsList,
        r#"{"tools":[]}"#,
        r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[]}"#,
    );
    check(
        Method::ResourcesRead,
        r#"{"ttlMs":5,"contents":[]}"#,
        r#"{"resultType":"complete","cacheScope":"private","ttlMs":5,"contents":[]}"#,
    );
    assert!(complete(&Method::ToolsCall, &json("[]")).is_err());
}

#[test]
fn log_messages_are_filtered_by_severity() {
    let check = |level: &str, wanted: Option<&str>, expected: bool| {
        let params = Some(json(&format!(r#"{{"level":"{level}","data":1}}"#)));
        let log = Notification { method: Method::LogMessage, params };
        assert_eq!(is_wanted(&log, wanted), expected, "{level} {wanted:?}");
    };
    check("info", Some("info"), true);
    check("debug", Some("info"), false);
    check("emergency", Some("debug"), true);
    check("info", None, false);
    check("odd", Some("error"), true);
}

#[test]
fn tokens_and_subscription_ids() {
    let notification =
        Notification { method: Method::Progress, params: Some(json(r#"{"progressToken":7,"progress":1}"#)) };
    assert_eq!(progress(notification.clone(), None), None);
    let Some(Event::Progress(mapped)) = progress(notification, Some(&json("\"mine\""))) else { panic!("no progress") };
    assert_eq!(mapped.params.unwrap().as_str(), r#"{"progressToken":"mine","progress":1}"#);

    let check = |text: &str, expected: &str| assert_eq!(without_subscription_id(json(text)).as_str(), expected);
    check(r#"{"a":1,"_meta":{"io.modelcontextprotocol/subscriptionId":4}}"#, r#"{"a":1}"#);
    check(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":4,"k":1}}"#, r#"{"_meta":{"k":1}}"#);
    check(r#"{"_meta":{"k":1}}"#, r#"{"_meta":{"k":1}}"#);
}
