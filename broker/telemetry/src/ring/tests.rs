#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

fn span(trace_id: u128, span_id: u64, parent: Option<u64>, kind: SpanKind) -> SpanRecord {
    SpanRecord {
        trace_id,
        span_id,
        parent_span_id: parent,
        remote_parent: false,
        name: format!("span {span_id}").into(),
        kind,
        start_unix_nanos: 1000 + span_id,
        end_unix_nanos: 2000 + span_id,
        attributes: vec![],
        links: vec![],
        error: None,
        node: "n1".into(),
        tracestate: None,
    }
}

#[test]
fn the_oldest_trace_goes_first() {
    let ring = Ring::new(3);
    for id in 1..=5 {
        ring.push(span(id, 1, None, SpanKind::Server).into());
    }
    let ids: Vec<_> = ring.recent(10, &TraceFilter::default()).iter().map(|trace| trace.trace_id).collect();
    assert_eq!(ids, [5, 4, 3]);
    assert_eq!(ring.recent(1, &TraceFilter::default()).len(), 1);
    assert!(ring.trace(2).is_none() && ring.trace(3).is_some());
}

#[test]
fn a_trace_keeps_so_many_spans_and_counts_all() {
    let ring = Ring::new(3);
    for id in 0..Ring::MAX_SPANS as u64 + 10 {
        ring.push(span(1, id + 1, None, SpanKind::Internal).into());
    }
    assert_eq!(ring.trace(1).unwrap().len(), Ring::MAX_SPANS);
    assert_eq!(ring.recent(1, &TraceFilter::default())[0].spans, Ring::MAX_SPANS + 10);
}

#[test]
fn large_traces_go_sooner() {
    let ring = Ring::new(1000);
    let large = |id| SpanRecord { error: Some("x".repeat(Ring::MAX_BYTES / 4)), ..span(id, 1, None, SpanKind::Server) };
    (1..=10).for_each(|id| ring.push(large(id).into()));
    let ids: Vec<_> = ring.recent(10, &TraceFilter::default()).iter().map(|trace| trace.trace_id).collect();
    assert_eq!(ids, [10, 9, 8]);
    (0..5).for_each(|_| ring.push(large(11).into()));
    assert_eq!(ring.recent(10, &TraceFilter::default()).len(), 1);
    ring.push(span(12, 1, None, SpanKind::Server).into());
    assert_eq!(ring.recent(10, &TraceFilter::default())[0].trace_id, 12);
}

#[test]
fn a_summary_speaks_of_the_root() {
    let client = SpanRecord { error: Some("below".into()), ..span(1, 3, Some(2), SpanKind::Client) };
    let far = SpanRecord { node: "n2".into(), ..span(1, 4, Some(3), SpanKind::Consumer) };
    let root = SpanRecord { remote_parent: true, end_unix_nanos: 9000, ..span(1, 2, Some(1), SpanKind::Server) };
    let summary = TraceSummary::of([&client, &far, &root]).unwrap();
    assert_eq!((summary.name.as_str(), summary.spans), ("span 2", 3));
    assert_eq!((summary.started_unix_nanos, summary.duration_nanos), (1002, 9000 - 1002));
    assert_eq!((summary.error.as_deref(), summary.nodes), (Some("below"), vec!["n1".into(), "n2".into()]));
    let denied = SpanRecord { attributes: vec![(names::ERROR_TYPE.into(), "denied".into())], ..root };
    assert_eq!(TraceSummary::of([&client, &denied]).unwrap().error.as_deref(), Some("denied"));
    assert_eq!(TraceSummary::of([]), None);
    let json = serde_json::to_string(&TraceSummary::of([&denied]).unwrap()).unwrap();
    assert!(json.contains("\"trace_id\":\"00000000000000000000000000000001\""), "{json}");
}

#[test]
fn filters() {
    let ring = Ring::new(10);
    let slow = SpanRecord { end_unix_nanos: 10_000_000, ..span(1, 1, None, SpanKind::Server) };
    let bad = SpanRecord { error: Some("It Broke".into()), ..span(2, 2, None, SpanKind::Server) };
    let tool = SpanRecord { attributes: vec![("k".into(), "git__log".into())], ..span(3, 3, None, SpanKind::Server) };
    [slow, bad, tool].into_iter().for_each(|span| ring.push(span.into()));
    let check = |filter: TraceFilter, expected: &[u128]| {
        let found: Vec<_> = ring.recent(10, &filter).iter().map(|trace| trace.trace_id).collect();
        assert_eq!(found, expected, "{filter:?}");
    };
    let text = |text: &str| TraceFilter { text: Some(text.into()), ..TraceFilter::default() };
    check(text("git__LOG"), &[3]);
    check(text("broke"), &[2]);
    check(text("00000000000001"), &[1]);
    check(text("nothing"), &[]);
    check(text(""), &[3, 2, 1]);
    check(TraceFilter { errors_only: true, ..TraceFilter::default() }, &[2]);
    check(TraceFilter { min_duration: Some(Duration::from_millis(5)), ..TraceFilter::default() }, &[1]);
}

#[test]
fn followers_hear_of_local_server_roots() {
    let ring = Ring::new(10);
    let mut follower = ring.follow();
    ring.push(span(1, 2, Some(1), SpanKind::Client).into());
    ring.push(SpanRecord { remote_parent: true, ..span(1, 3, Some(1), SpanKind::Consumer) }.into());
    assert!(follower.try_recv().is_err());
    ring.push(span(1, 1, None, SpanKind::Server).into());
    let summary = follower.try_recv().unwrap();
    assert_eq!((summary.trace_id, summary.spans, summary.name.as_str()), (1, 3, "span 1"));
    assert!(follower.try_recv().is_err());
}
