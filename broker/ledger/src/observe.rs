//! Seen from outside: a span and metrics for each append, the same in both ledgers.

use std::borrow::Cow;

use spanwire_model::{Command, Receipt, RefusalReason, Result, Shard};
use spanwire_telemetry::{Span, SpanKind, Telemetry, error_type, names};
use tokio::time::Instant;

/// An append that runs.
pub(crate) struct Observed<'a> {
    telemetry: &'a Telemetry,
    shard: Shard,
    started: Instant,
    pub(crate) span: Span,
}

/// An append begins: a span below the one that wrote the command.
pub(crate) fn begin<'a>(telemetry: &'a Telemetry, shard: Shard, command: &Command) -> Observed<'a> {
    let author = &command.author;
    let mut span = telemetry.tracer().start(SpanKind::Internal, names::SPAN_LEDGER_APPEND, author.trace.as_ref());
    if span.is_recording() {
        span.set(names::SPANWIRE_LEDGER_SHARD, shard.to_string());
        span.set_text(names::SPANWIRE_PRINCIPAL, &author.principal);
        if let Some(call) = author.call {
            span.set(names::SPANWIRE_CALL_ID, call.to_string());
        }
    }
    Observed { telemetry, shard, started: Instant::now(), span }
}

impl Observed<'_> {
    /// The append has its outcome. Not called when the caller went away: the span ends as cancelled.
    pub(crate) fn end(mut self, result: &Result<Receipt>) {
        let outcome: Cow<'static, str> = match result {
            Ok(Receipt { sequence, outcome }) => {
                self.span.set(names::SPANWIRE_LEDGER_SEQUENCE, i64::try_from(*sequence).unwrap_or(i64::MAX));
                outcome.as_ref().map_or_else(|refusal| word(refusal.reason), |_| "applied").into()
            }
            Err(error) => {
                self.span.fail(error);
                error_type(error)
            }
        };
        self.span.set_text(names::SPANWIRE_LEDGER_OUTCOME, &outcome);
        self.telemetry.metrics().ledger_appended(self.shard, &outcome, self.started.elapsed());
        self.span.end();
    }
}

const fn word(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Conflict => "conflict",
        RefusalReason::Quota => "quota",
        RefusalReason::Invalid => "invalid",
    }
}
