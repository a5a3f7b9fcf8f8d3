//! The SDK's provider for `tracing` spans, whose ended spans go the way of all others.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor},
};

use crate::{pipeline::otlp, telemetry::Task, tracer::Intake};

/// A provider that hands its spans to telemetry's task. The control plane does little: all of it is recorded.
pub(super) fn provider(task: &Task) -> SdkTracerProvider {
    SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(task.resource.clone())
        .with_span_processor(Feed(task.intake.clone()))
        .build()
}

#[derive(Debug)]
struct Feed(Intake);

impl SpanProcessor for Feed {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(otlp::record(span));
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
