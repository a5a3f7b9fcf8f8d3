//! Spans, metrics, the names of both, and the live ring of recent traces.
//!
//! A span is one record, built by hand and handed over once, when it ends: to a bounded queue, by a send that never
//! waits. One task takes the records from there, puts them into the [`Ring`] that the web page reads, and exports them
//! over OTLP. So **telemetry never blocks a call and never fails one**: what does not fit is dropped and counted.
//! `tracing` is for logs, and for the few spans of the control plane, which end in the same queue.

mod config;
mod id;
mod logging;
mod metrics;
pub mod names;
mod pipeline;
mod record;
mod ring;
mod telemetry;
mod tracer;

pub use config::{Config, ConfigError, OtlpConfig, OtlpProtocol};
pub use logging::{LogFormat, in_trace, init_logging, poll_in_trace};
pub use metrics::{CallLabels, InFlight, Metrics, SpanResult};
pub use record::{SpanKind, SpanLink, SpanRecord, Value};
pub use ring::{Ring, TraceFilter, TraceSummary};
pub use telemetry::Telemetry;
pub use tracer::{Span, Tracer, error_type};
