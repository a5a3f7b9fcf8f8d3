#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use spanwire_mcp::{ErrorObject, Method, Notification, input::InputRequest};

use super::{to_extension::Detail, *};

const OLD: &str = r#"{"taskId":"t","status":"working","statusMessage":"busy","createdAt":"a","lastUpdatedAt":"b","ttl":60000,"pollInterval":5000,"x":1}"#;
const NEW: &str = r#"{"taskId":"t","status":"working","statusMessage":"busy","createdAt":"a","lastUpdatedAt":"b","ttlMs":60000,"pollIntervalMs":5000,"x":1}"#;

fn json(text: &str) -> Json {
    Json::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// The object with more members at its end.
fn and(object: &str, more: &str) -> String {
    format!("{},{more}}}", object.strip_suffix('}').unwrap())
}

/// Equal as JSON: the order of members is ours to choose.
fn assert_same(got: &Json, expected: &str) {
    assert_eq!(got.to_value(), json(expected).to_value());
}

#[test]
fn a_created_task_both_ways() {
    let old = format!(
        r#"{{"task":{OLD},"_meta":{{"io.modelcontextprotocol/model-immediate-response":"wait","io.modelcontextprotocol/related-task":{{"taskId":"t"}}}}}}"#
    );
    let hint = r#""_meta":{"io.modelcontextprotocol/model-immediate-response":"wait"}"#;
    let new = and(&and(NEW, r#""resultType":"task""#), hint);
    assert_same(&to_extension::created(&json(&old)).unwrap().unwrap(), &new);
    // The server edge has completed the result by then.
    let completed = old.replacen('{', r#"{"resultType":"complete","#, 1);
    assert_same(&to_extension::created(&json(&completed)).unwrap().unwrap(), &new);
    let back = format!(r#"{{"task":{OLD},{hint}}}"#);
    assert_same(&to_legacy::created(&json(&new)).unwrap(), &back);
    for (text, none) in [(r#"{"content":[]}"#, true), (r#"{"task":7}"#, true), (r#"{"task":{"taskId":"t"}}"#, false)] {
        assert_eq!(to_extension::created(&json(text)).is_none(), none, "{text}");
    }
    let error = to_extension::created(&json(r#"{"task":{"taskId":"t","status":"odd"}}"#)).unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadServer);
}

#[test]
fn times_are_whole_milliseconds() {
    let check = |old: &str, new: &str| {
        let task = json(&format!(r#"{{"taskId":"t","status":"working"{old}}}"#));
        let detailed = to_extension::detailed(&task, Status::Working, &Detail::None).unwrap();
        assert_same(&detailed, &format!(r#"{{"taskId":"t","status":"working"{new}}}"#));
    };
    check(r#","ttl":null"#, r#","ttlMs":null"#);
    check("", r#","ttlMs":null"#);
    check(r#","ttl":1.5e3,"pollInterval":250.0"#, r#","ttlMs":1500,"pollIntervalMs":250"#);
    check(r#","ttl":"soon","pollInterval":-1"#, r#","ttlMs":null"#);
}

#[test]
fn a_finished_task_has_its_outcome_inside() {
    let task = |status: &str| json(&OLD.replace("working", status));
    let new = |status: &str, more: &str| and(&NEW.replace("working", status), more);
    let related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}"#;
    let result = |text: &str| Ok(json(&format!(r#"{{"resultType":"complete",{text},{related}}}"#)));
    let done = to_extension::finished(&task("completed"), result(r#""content":[]"#)).unwrap();
    assert_same(&done, &new("completed", r#""result":{"content":[]}"#));
    // A tool's own error is no failure of the task there, and is one here.
    let tool_error = to_extension::finished(&task("failed"), result(r#""isError":true"#)).unwrap();
    assert_same(&tool_error, &new("completed", r#""result":{"isError":true}"#));
    assert_same(&to_legacy::task(&tool_error).unwrap(), &OLD.replace("working", "failed"));
    assert_same(&to_legacy::payload(&tool_error).unwrap(), &format!(r#"{{"isError":true,{related}}}"#));
    // The error of the call.
    let server = Error::from_server(ErrorObject { code: -7, message: "no".into(), data: Some(json("[1]")) });
    let failed = to_extension::finished(&task("failed"), Err(server.clone())).unwrap();
    assert_same(&failed, &new("failed", r#""error":{"code":-7,"message":"no","data":[1]}"#));
    assert_same(&to_legacy::task(&failed).unwrap(), &OLD.replace("working", "failed"));
    assert_eq!(to_legacy::payload(&failed).unwrap_err(), server);
    // Errors that are not the task's.
    let lost = Error::new(ErrorKind::StreamLost, "gone");
    assert_eq!(to_extension::finished(&task("failed"), Err(lost.clone())).unwrap_err(), lost);
    assert_eq!(to_extension::finished(&task("completed"), Err(server.clone())).unwrap_err(), server);
    let cancelled = json(&new("cancelled", r#""y":2"#));
    assert_eq!(to_legacy::payload(&cancelled).unwrap_err().json_rpc_code(), -32603);
}

#[test]
fn a_task_by_itself() {
    let detailed = json(&and(NEW, r#""resultType":"complete","_meta":{"k":1}"#));
    assert_same(&to_legacy::got(&detailed).unwrap(), &and(OLD, r#""_meta":{"k":1}"#));
    assert_same(&to_legacy::task(&detailed).unwrap(), OLD);
    let plain = to_extension::detailed(&json(OLD), Status::Working, &Detail::None).unwrap();
    assert_same(&plain, NEW);
    assert!(to_extension::got(&plain).as_str().starts_with(r#"{"resultType":"complete","taskId":"t""#));
    for text in [r#"{"status":"working"}"#, r#"{"taskId":"t","status":"working","createdAt":"a"}"#, "[]"] {
        assert_eq!(to_legacy::task(&json(text)).unwrap_err().kind, ErrorKind::BadServer, "{text}");
    }
}

#[test]
fn what_is_asked_is_listed_by_key() {
    let requests = vec![
        InputRequest { key: "a".into(), method: Method::ElicitationCreate, params: Some(json(r#"{"message":"?"}"#)) },
        InputRequest { key: "b".into(), method: Method::RootsList, params: None },
    ];
    let task = json(&OLD.replace("working", "input_required"));
    let detailed = to_extension::detailed(&task, Status::InputRequired, &Detail::Requests(requests.clone())).unwrap();
    assert_eq!(
        detailed.get("inputRequests").unwrap().as_str(),
        r#"{"a":{"method":"elicitation/create","params":{"message":"?"}},"b":{"method":"roots/list"}}"#
    );
    assert_eq!(to_legacy::requests(&detailed).unwrap(), requests);
    assert_same(&to_legacy::task(&detailed).unwrap(), task.as_str());
    assert_eq!(to_legacy::requests(&json(NEW)).unwrap(), []);
    assert!(to_legacy::requests(&json(r#"{"inputRequests":{"a":{"method":"tools/list"}}}"#)).is_err());
}

#[test]
fn a_status_notification() {
    let params = json(&and(&NEW.replace("working", "completed"), r#""result":{"isError":true}"#));
    let told = to_legacy::notification(&Notification { method: Method::TaskStatus, params: Some(params) }).unwrap();
    assert_eq!(told.method, Method::LegacyTaskStatus);
    assert_same(&told.params.unwrap(), &OLD.replace("working", "failed"));
    assert_eq!(to_legacy::notification(&Notification { method: Method::TaskStatus, params: None }), None);
}

#[test]
fn capabilities_of_a_server_with_tasks() {
    let check = |declared: &str, expected: Option<&str>| {
        let got = to_extension::capabilities(&json(declared));
        assert_eq!(got.as_ref().map(Json::as_str), expected, "{declared}");
    };
    check(
        r#"{"tools":{},"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}"#,
        Some(r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
    );
    check(
        r#"{"extensions":{"x":{}},"tasks":{"requests":{"tools":{"call":{}}}}}"#,
        Some(r#"{"extensions":{"x":{},"io.modelcontextprotocol/tasks":{}}}"#),
    );
    check(r#"{"tasks":{"list":{}}}"#, None);
    check("{}", None);
}

#[test]
fn relations_and_declarations() {
    let object = json(r#"{"action":"accept"}"#);
    let with = related(&object, "t\"1");
    assert_eq!(related_to(&with).unwrap(), "t\"1");
    assert_eq!(unrelated(&with), object);
    assert_eq!(related_to(&object), None);
    let declared =
        declare(&json(r#"{"name":"a","_meta":{"k":1,"io.modelcontextprotocol/clientCapabilities":{"roots":{}}}}"#));
    assert!(tasks::is_declared_by(&declared));
    assert!(declared.as_str().contains(r#""roots":{}"#) && declared.as_str().contains(r#""k":1"#), "{declared:?}");
    let error = missing_extension("tasks/get");
    assert_eq!((error.json_rpc_code(), wants_extension(&error)), (-32021, true));
    let other = Error::new(ErrorKind::MissingCapability, "roots");
    assert!(!wants_extension(&other));
}
