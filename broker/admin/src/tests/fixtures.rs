//! What the scripted node has: servers and traces.

use super::*;

/// A server with tools `tool0`, `tool1`, …
pub(super) fn server(id: &str, node: &str, state: ServerState, tools: usize) -> Arc<ServerEntry> {
    let mut listing = Listing::default();
    *listing.of_mut(ListKind::Tools) = (0..tools)
        .map(|index| ListingEntry { name: format!("tool{index}").into(), json: Json::empty_object() })
        .collect();
    let facts = ServerFacts {
        revision: Revision::V2025_11_25,
        info: Json::from_trusted(r#"{"name":"Git Server","version":"2.0"}"#),
        capabilities: Json::empty_object(),
        instructions: None,
    };
    Arc::new(ServerEntry {
        id: id.parse().unwrap(),
        node: node.parse().unwrap(),
        local: node == "here",
        transport: "stdio".into(),
        facts: state.is_callable().then(|| Arc::new(facts)),
        listing: Arc::new(listing),
        health: Health { state, detail: Some("as scripted".into()), restarts: 3 },
        call_timeout: None,
        source: spanwire_model::Source::Config,
        placed: None,
        load: 0,
    })
}

pub(super) fn trace(trace_id: u128, errors: u32) -> Trace {
    let summary = TraceSummary {
        trace_id,
        name: "tools/call git__status".into(),
        start_unix_nanos: 1,
        end_unix_nanos: 9,
        spans: 1,
        errors,
        error: (errors > 0).then(|| "it broke".into()),
        nodes: vec!["here".into()],
        servers: vec!["git".into()],
    };
    let span = SpanRecord {
        trace_id,
        span_id: 0xab,
        parent: Some(0xcd),
        name: "tools/call git__status".into(),
        kind: SpanKind::Server,
        start_unix_nanos: 1,
        end_unix_nanos: 9,
        attributes: vec![("rpc.system".into(), "mcp".into()), ("spanwire.attempt".into(), 2.into())],
        error: (errors > 0).then(String::new),
        node: "here".into(),
    };
    Trace { summary, spans: vec![span] }
}
