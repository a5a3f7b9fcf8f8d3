//! Log lines that say to which trace they belong.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Json, Writer},
    },
    registry::LookupSpan,
};

use super::CURRENT;

/// A format that adds the ids of the current trace to each line.
pub(super) struct WithTrace<F> {
    inner: F,
    close: Close,
}

/// How a line of the inner format ends, and so where the ids go.
#[derive(Clone, Copy)]
enum Close {
    Text,
    Object,
}

impl WithTrace<Format<Full>> {
    pub(super) fn text(colours: bool) -> Self {
        Self { inner: tracing_subscriber::fmt::format().with_ansi(colours), close: Close::Text }
    }
}

impl WithTrace<Format<Json>> {
    pub(super) fn json() -> Self {
        let inner = tracing_subscriber::fmt::format().json().flatten_event(true).with_ansi(false);
        Self { inner: inner.with_current_span(true).with_span_list(false), close: Close::Object }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Ok((trace_id, span_id)) = CURRENT.try_with(|current| (current.trace_id, current.span_id)) else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        match (self.close, line.strip_suffix('}')) {
            (Close::Object, Some(open)) => {
                writeln!(writer, "{open},\"trace_id\":\"{trace_id:032x}\",\"span_id\":\"{span_id:016x}\"}}")
            }
            (Close::Text, _) | (Close::Object, None) => {
                writeln!(writer, "{line} trace_id={trace_id:032x} span_id={span_id:016x}")
            }
        }
    }
}
