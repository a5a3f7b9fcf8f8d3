//! Tracing: one trace per call over every hop, into any collector, and never at the cost of a call.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod collectors;
mod deployment;
mod exposition;
mod hops;
mod outcomes;
mod sessions;
