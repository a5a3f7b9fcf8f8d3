#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn record() -> SpanRecord {
    SpanRecord {
        trace_id: u128::MAX - 1,
        span_id: u64::MAX,
        parent_span_id: Some(7),
        remote_parent: true,
        name: "tools/call x".into(),
        kind: SpanKind::Server,
        start_unix_nanos: 1_795_000_000_000_000_001,
        end_unix_nanos: 1_795_000_000_000_000_009,
        attributes: vec![("a".into(), Value::Int(1)), ("b".into(), Value::Float(0.5)), ("c".into(), "x".into())],
        links: vec![SpanLink { trace_id: 1, span_id: 2 }],
        error: Some("it broke".into()),
        node: "n1".into(),
        tracestate: Some("k=v".into()),
    }
}

#[test]
fn json_is_lossless() {
    let json = serde_json::to_string(&record()).unwrap();
    assert!(json.contains("\"trace_id\":\"fffffffffffffffffffffffffffffffe\""), "{json}");
    assert!(json.contains("\"parent_span_id\":\"0000000000000007\""), "{json}");
    assert_eq!(serde_json::from_str::<SpanRecord>(&json).unwrap(), record());
    let root = SpanRecord { parent_span_id: None, ..record() };
    assert_eq!(serde_json::from_str::<SpanRecord>(&serde_json::to_string(&root).unwrap()).unwrap(), root);
    let bad = json.replace("0000000000000007", "+000000000000007");
    assert!(serde_json::from_str::<SpanRecord>(&bad).is_err());
}

#[test]
fn a_record_has_bounds() {
    let mut record = record();
    record.set("a", Value::Int(2));
    assert_eq!((record.attribute("a"), record.attributes.len()), (Some(&Value::Int(2)), 3));
    for i in 0..100 {
        record.set(format!("k{i}"), Value::Bool(true));
    }
    assert_eq!(record.attributes.len(), SpanRecord::MAX_ATTRIBUTES);
    record.set("a", "é".repeat(5000).into());
    let text = record.attribute("a").unwrap().as_text().unwrap();
    assert!(text.len() <= SpanRecord::MAX_TEXT_BYTES && text.ends_with("…truncated"));
}
