//! Logs to stderr, and the spans of the control plane.

mod bridge;
mod format;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use spanwire_model::TraceContext;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

use self::format::WithTrace;
use crate::Telemetry;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when the filter cannot be read.
const FALLBACK_FILTER: &str = "info";

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Sets up logs, once per process: lines to stderr, filtered by directives such as `info,spanwire_http=debug`. With
/// telemetry, `tracing` spans of our own crates at `info` and above are traced as well; those are for the control
/// plane (a server connects, a catalog is built), never for calls.
pub fn init_logging(format: LogFormat, filter: &str, telemetry: Option<&Telemetry>) {
    let (directives, problem) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(FALLBACK_FILTER), Some(error)),
    };
    let spans = telemetry.and_then(Telemetry::task).map(|task| {
        let tracer = bridge::provider(task).tracer("spanwire");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_filter(filter_fn(is_ours))
    });
    let subscriber = tracing_subscriber::registry().with(spans).with(lines(format).with_filter(directives));
    if subscriber.try_init().is_err() {
        tracing::debug!("logs were set up before");
    }
    if let Some(error) = problem {
        tracing::warn!(%error, filter, "log filter cannot be read, \"{FALLBACK_FILTER}\" is used");
    }
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let colours = std::io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => layer.event_format(WithTrace::text(colours)).boxed(),
        LogFormat::Json => layer.fmt_fields(fmt::format::JsonFields::new()).event_format(WithTrace::json()).boxed(),
    }
}

/// The exporter's own client logs and traces too: to trace that would never end.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("spanwire") && *metadata.level() <= tracing::Level::INFO
}

/// Runs a future in a trace: log lines from inside carry `trace_id` and `span_id`. Costs a swap of a thread-local per
/// poll.
pub fn in_trace<F: Future>(context: TraceContext, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, future)
}

/// The same for one poll of a stream, or for any other piece of straight code.
pub fn poll_in_trace<R>(context: &TraceContext, code: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(context.clone(), code)
}

#[cfg(test)]
mod tests;
