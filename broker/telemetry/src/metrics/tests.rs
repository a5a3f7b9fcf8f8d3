#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::collections::{BTreeMap, BTreeSet};

use spanwire_model::{Book, Shard, ShardState};

use super::*;

const LABELS: CallLabels<'_> = CallLabels {
    method: "tools/call",
    tool: Some("git__log"),
    server: Some("git"),
    error_type: None,
    revision: Revision::CANONICAL,
};

fn touch_all(metrics: &Metrics) -> [InFlight; 2] {
    let failed = CallLabels { error_type: Some("timeout"), ..LABELS };
    metrics.call_finished(failed, Duration::from_millis(15), None);
    metrics.upstream_finished(failed, Duration::from_millis(12), None);
    metrics.overhead(Duration::from_micros(70));
    metrics.wait("git", Duration::from_millis(1));
    metrics.wire(Duration::from_millis(1));
    metrics.set_servers([ServerState::Ready, ServerState::Ready, ServerState::Down]);
    metrics.set_nodes(3);
    metrics.server_restarted("git");
    metrics.call_rejected("overloaded");
    metrics.call_retried("unavailable");
    metrics.replica_sick("git");
    metrics.call_cancelled();
    metrics.spans_done(SpanResult::Exported, 2);
    metrics.export_succeeded();
    metrics.set_backbone_in_flight(1);
    metrics.set_sessions(1);
    metrics.context_operation("put", "done");
    metrics.set_shards(&[shard(ShardState::Following, 5, 7)]);
    metrics.ledger_appended(Shard::REGISTRY, "applied", Duration::from_millis(1));
    [metrics.in_flight(), metrics.held()]
}

fn shard(state: ShardState, applied: u64, last: u64) -> ShardStatus {
    let shard = Shard { book: Book::Context, number: 2 };
    ShardStatus { shard, state, detail: None, applied, last, first: 1, hash: "00".into(), replicas: 1, stale: None }
}

#[test]
fn a_shard_is_in_one_state() {
    let metrics = Metrics::new(100);
    metrics.set_shards(&[shard(ShardState::CatchingUp, 5, 7)]);
    metrics.set_shards(&[shard(ShardState::Following, 7, 7)]);
    let text = metrics.encode_openmetrics();
    for line in [
        r#"spanwire_ledger_applied_entries{shard="context.2"} 7"#,
        r#"spanwire_ledger_lag_entries{shard="context.2"} 0"#,
        r#"spanwire_ledger_state{shard="context.2",state="following"} 1"#,
        r#"spanwire_ledger_state{shard="context.2",state="catching_up"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

/// `name{labels} type`, one line each, from what is scraped.
fn names_and_labels(text: &str) -> String {
    let mut types = BTreeMap::new();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let sample = line.split(" # ").next().unwrap();
            let name = sample.split(['{', ' ']).next().unwrap();
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(key, _)| key.to_owned());
            found.entry(name.to_owned()).or_default().extend(labels);
        }
    }
    let line = |(name, labels): (&String, &BTreeSet<String>)| {
        let family = ["_bucket", "_sum", "_count", "_total"].iter().find_map(|end| name.strip_suffix(end));
        let kind = types.get(name).or_else(|| types.get(family?)).unwrap();
        let labels = labels.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        format!("{name}{{{labels}}} {kind}\n")
    };
    found.iter().map(line).collect()
}

#[test]
fn golden_names() {
    let metrics = Metrics::new(100);
    let _running = touch_all(&metrics);
    let found = names_and_labels(&metrics.encode_openmetrics());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/metrics.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, golden, "run with UPDATE_GOLDEN=1 if this is meant");
}

#[test]
fn values_are_as_told() {
    let metrics = Metrics::new(100);
    let running = touch_all(&metrics);
    let text = metrics.encode_openmetrics();
    for line in [
        "spanwire_calls_in_flight 1",
        "spanwire_servers{state=\"ready\"} 2",
        "spanwire_servers{state=\"starting\"} 0",
        "spanwire_nodes 3",
        "spanwire_ledger_appends_total{shard=\"registry.0\",outcome=\"applied\"} 1",
        "spanwire_server_restarts_total{spanwire_server=\"git\"} 1",
        "spanwire_telemetry_spans_total{result=\"exported\"} 2",
        "spanwire_telemetry_spans_total{result=\"failed\"} 0",
        "spanwire_broker_overhead_seconds_bucket{le=\"0.0001\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    drop(running);
    assert!(metrics.encode_openmetrics().contains("spanwire_calls_in_flight 0\n"));
    metrics.set_servers([]);
    assert!(metrics.encode_openmetrics().contains("spanwire_servers{state=\"ready\"} 0\n"));
}

#[test]
fn sampled_calls_are_exemplars() {
    let metrics = Metrics::new(100);
    let mut trace = TraceContext { trace_id: 0xabc, span_id: 0xdef, sampled: false, tracestate: None };
    metrics.call_finished(LABELS, Duration::from_millis(15), Some(&trace));
    assert!(!metrics.encode_openmetrics().contains("trace_id"));
    trace.sampled = true;
    metrics.call_finished(LABELS, Duration::from_millis(15), Some(&trace));
    let text = metrics.encode_openmetrics();
    assert!(
        text.contains("# {trace_id=\"00000000000000000000000000000abc\",span_id=\"0000000000000def\"} 0.015"),
        "{text}"
    );
}

#[test]
fn a_metric_does_not_grow_without_bound() {
    let metrics = Metrics::new(10);
    let finish = |tool: &str| {
        metrics.call_finished(CallLabels { tool: Some(tool), server: None, ..LABELS }, Duration::from_secs(1), None);
    };
    (0..100).for_each(|i| finish(&format!("t{i}")));
    finish("t3");
    let counts: Vec<String> = metrics
        .encode_openmetrics()
        .lines()
        .filter(|line| line.starts_with("mcp_server_operation_duration_seconds_count"))
        .map(str::to_owned)
        .collect();
    assert_eq!(counts.len(), 11, "{counts:#?}");
    let other = "{mcp_method_name=\"_other\",gen_ai_tool_name=\"_other\",mcp_protocol_version=\"_other\"} 90";
    assert!(counts.iter().any(|line| line.ends_with(other)), "{counts:#?}");
    assert!(counts.iter().any(|line| line.contains("\"t3\"") && line.ends_with(" 2")), "{counts:#?}");
}

#[test]
fn made_up_methods_share_one_series() {
    let metrics = Metrics::new(10);
    for method in ["x", "y", "a\u{1f}b"] {
        metrics.call_finished(CallLabels { method, ..LABELS }, Duration::from_secs(1), None);
    }
    metrics.wait("a\u{1f}b", Duration::ZERO);
    let text = metrics.encode_openmetrics();
    assert!(text.contains("duration_seconds_count{mcp_method_name=\"_other\",gen_ai_tool_name=\"git__log\""), "{text}");
    assert!(text.contains("spanwire_call_wait_seconds_count{spanwire_server=\"_other\"} 1"), "{text}");
}
