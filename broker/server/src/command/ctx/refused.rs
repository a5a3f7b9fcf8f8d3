//! Why the context refused, with what is needed to do better.

use serde_json::Value;
use spanwire_rpc::ERROR_DATA_METADATA;
use tonic::Status;

use crate::{
    failure::Failure,
    output::{ago, now_ms},
};

/// The failure of a request, with what is there and who wrote it where it was a conflict.
pub(super) fn failure(status: Status) -> Failure {
    let hint = data_of(&status).and_then(|data| hint(&data, now_ms()));
    let failure = Failure::from(status);
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// From which sequence on changes are kept, when it was refused to begin earlier.
pub(super) fn first_kept(status: &Status) -> Option<u64> {
    first_of(&data_of(status)?)
}

fn data_of(status: &Status) -> Option<Value> {
    serde_json::from_slice(status.metadata().get(ERROR_DATA_METADATA)?.as_bytes()).ok()
}

fn first_of(data: &Value) -> Option<u64> {
    let is_gone = data.get("reason").and_then(Value::as_str) == Some("gone");
    data.get("first").filter(|_| is_gone).and_then(Value::as_u64)
}

fn hint(data: &Value, now_ms: u64) -> Option<String> {
    let text = |member: &str| data.get(member).and_then(Value::as_str);
    if let Some(first) = first_of(data) {
        return Some(format!("changes are kept from {first} on: take a snapshot, and go on after its sequence"));
    }
    if let Some(quota) = text("quota") {
        return Some(of_quota(quota));
    }
    if let Some(operation) = text("operation") {
        return Some(format!("it may have been written: the same command with --operation {operation} finds out"));
    }
    let key = text("key")?;
    let Some(version) = data.get("version").and_then(Value::as_u64) else {
        return Some(format!("\"{key}\" is not there"));
    };
    let written = data.get("time_ms").and_then(Value::as_u64).map(|ms| format!(", {}", ago(ms, now_ms)));
    let writer = |member: &str| data.get("writer").and_then(|writer| writer.get(member)).and_then(Value::as_str);
    let by = writer("principal").map(|who| format!(" by {who}")).unwrap_or_default();
    let on = writer("node").map(|node| format!(" on {node}")).unwrap_or_default();
    let trace = writer("trace").map(|trace| format!(": \"spanwire trace show {trace}\"")).unwrap_or_default();
    Some(format!("\"{key}\" is there in version {version}, written{by}{on}{}{trace}", written.unwrap_or_default()))
}

/// What helps when a quota is used up. Not all of them can be set.
fn of_quota(quota: &str) -> String {
    let key = match quota {
        "value_bytes" => "max_value_bytes",
        "keys" => "max_keys",
        "bytes" => "max_bytes",
        "log_events" => "log_events",
        "spaces" => return "\"spanwire ctx spaces\" lists them, \"spanwire ctx drop SPACE --yes\" removes one that is not needed".to_owned(),
        "operations" => return "do it in several transactions".to_owned(),
        _ => return "delete what is not needed".to_owned(),
    };
    format!("delete what is not needed, or raise context.{key} in the configuration of all nodes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_there_is_told() {
        let check = |data: Value, expected: Option<&str>| assert_eq!(hint(&data, 9000).as_deref(), expected, "{data}");
        let writer = json!({ "principal": "ann", "node": "b", "trace": "0af7", "span": "b7ad" });
        check(
            json!({ "kind": "conflict", "key": "goal", "exists": true, "version": 12, "time_ms": 4000, "writer": writer }),
            Some("\"goal\" is there in version 12, written by ann on b, 5 s ago: \"spanwire trace show 0af7\""),
        );
        check(json!({ "kind": "conflict", "key": "goal", "exists": false }), Some("\"goal\" is not there"));
        check(
            json!({ "reason": "gone", "first": 7 }),
            Some("changes are kept from 7 on: take a snapshot, and go on after its sequence"),
        );
        for (data, expected) in [
            (json!({ "reason": "gone", "first": 7 }), Some(7)),
            (json!({ "reason": "gone" }), None),
            (json!({ "kind": "conflict", "first": 7 }), None),
        ] {
            assert_eq!(first_of(&data), expected, "{data}");
        }
        check(
            json!({ "quota": "keys", "limit": 1, "wanted": 2 }),
            Some("delete what is not needed, or raise context.max_keys in the configuration of all nodes"),
        );
        for (quota, part) in
            [("value_bytes", "context.max_value_bytes "), ("spaces", "ctx drop"), ("operations", "several")]
        {
            let told = hint(&json!({ "quota": quota, "limit": 1, "wanted": 2 }), 9000).unwrap_or_default();
            assert!(told.contains(part), "{quota}: {told}");
        }
        check(
            json!({ "operation": "0b2c" }),
            Some("it may have been written: the same command with --operation 0b2c finds out"),
        );
        check(json!({ "kind": "denied" }), None);
    }
}
