use super::*;

fn span(id: &str, parent: &str, name: &str, start_ms: u64, end_ms: u64) -> Span {
    Span {
        span_id: id.to_owned(),
        parent_span_id: parent.to_owned(),
        name: name.to_owned(),
        kind: SpanKind::Server.into(),
        start_unix_nanos: start_ms * 1_000_000,
        end_unix_nanos: end_ms * 1_000_000,
        node: "a".to_owned(),
        ..Span::default()
    }
}

fn plain(spans: &[Span], width: usize) -> Vec<String> {
    draw(spans, width).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
}

#[test]
fn a_tree_with_its_times() {
    let mut failed = span("4", "3", "child", 30, 40);
    failed.failed = true;
    failed.error = "no such\ncity".to_owned();
    let spans = [
        span("1", "gone", "POST /mcp", 0, 100),
        failed,
        span("3", "1", "tools/call", 20, 100),
        span("2", "1", "queue", 10, 20),
    ];
    let expected = [
        "span             kind     node                at      took 0      100.0 ms",
        "POST /mcp        server   a                 0 µs  100.0 ms ███████████████",
        "├─ queue         server   a              10.0 ms   10.0 ms  ██",
        "└─ tools/call    server   a              20.0 ms   80.0 ms    ████████████",
        "   └─ child      server   a              30.0 ms   10.0 ms     ██",
        "        ✗ no such city",
    ];
    assert_eq!(plain(&spans, 74), expected);
}

#[test]
fn every_span_comes_once_whatever_the_parents_say() {
    let spans = [
        span("1", "2", "a", 0, 1),
        span("2", "1", "b", 0, 2),
        span("3", "3", "self", 0, 3),
        span("3", "x", "twice", 0, 1),
    ];
    assert_eq!(plain(&spans, 100).len(), 5);
    assert_eq!(plain(&[], 100).len(), 1);
    let chain: Vec<Span> = (1..2000).map(|n| span(&n.to_string(), &(n - 1).to_string(), "deep", n, 3000)).collect();
    assert!(plain(&chain, 120).iter().all(|line| line.chars().count() <= 120));
}
