#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::{
    io,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{Config, SpanKind};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn context() -> TraceContext {
    TraceContext { trace_id: 0xabc, span_id: 0xdef, sampled: true, tracestate: None }
}

#[tokio::test]
async fn log_lines_of_a_call_carry_its_trace() {
    for json in [false, true] {
        let lines = Lines::default();
        let sink = lines.clone();
        let layer = fmt::layer().with_writer(move || sink.clone()).with_ansi(false);
        let layer = if json {
            layer.fmt_fields(fmt::format::JsonFields::new()).event_format(WithTrace::json()).boxed()
        } else {
            layer.event_format(WithTrace::text(false)).boxed()
        };
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        tracing::info!("outside");
        in_trace(context(), async { tracing::info!(server = "git", "inside") }).await;
        poll_in_trace(&context(), || tracing::info!("inside, too"));
        let text = lines.text();
        let found: Vec<bool> = text.lines().map(|line| line.contains("00000000000000000000000000000abc")).collect();
        assert_eq!(found, [false, true, true], "{text}");
        if json {
            let line: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
            assert_eq!(
                (&line["trace_id"], &line["span_id"]),
                (&format!("{:032x}", 0xabc).into(), &format!("{:016x}", 0xdef).into())
            );
            assert_eq!((&line["server"], &line["message"]), (&"git".into(), &"inside".into()));
        }
    }
}

#[tokio::test]
async fn control_plane_spans_are_traced_and_those_of_others_are_not() {
    let telemetry = Telemetry::start(Config::new("n1".parse().unwrap())).unwrap();
    let tracer = bridge::provider(telemetry.task().unwrap()).tracer("spanwire");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter_fn(is_ours));
    {
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        let outer = tracing::info_span!("connect", spanwire.server = "git");
        outer.in_scope(|| {
            drop(tracing::info_span!(target: "hyper", "poll").entered());
            drop(tracing::debug_span!("detail").entered());
            drop(tracing::info_span!("list").entered());
        });
    }
    telemetry.shutdown(std::time::Duration::from_secs(10)).await;
    let traces = telemetry.ring().recent(10, &crate::TraceFilter::default());
    assert_eq!(traces.len(), 1);
    assert_eq!((traces[0].name.as_str(), traces[0].spans, &traces[0].nodes), ("connect", 2, &vec!["n1".to_owned()]));
    let spans = telemetry.ring().trace(traces[0].trace_id).unwrap();
    assert_eq!(spans[0].attribute("spanwire.server"), Some(&"git".into()));
    assert_eq!((spans[1].name.as_ref(), spans[1].kind), ("list", SpanKind::Internal));
    assert_eq!(spans[1].parent_span_id, Some(spans[0].span_id));
}
