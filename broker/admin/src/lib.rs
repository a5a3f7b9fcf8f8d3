//! The operator's door to one node: gRPC for programs and the command line, a few HTTP pages for probes and scrapers.
//!
//! Nothing is decided here. Requests are read, access is checked, and everything else is asked of [`Control`], which the
//! composition root builds on the registry, the router and the telemetry. The contract over gRPC is `proto/spanwire/v1/broker.proto`.

mod access;
mod control;
mod failure;
mod grpc;
mod http;
mod readiness;
mod trace;

pub use access::{Access, ControlToken, EmptyToken};
pub use control::{Control, Listener, Status, TelemetryStatus};
pub use grpc::{ServeError, serve_grpc};
pub use http::http;
pub use readiness::missing;
pub use trace::{SpanKind, SpanRecord, Trace, TraceFilter, TraceMatch, TraceSummary};

#[cfg(test)]
mod tests;
