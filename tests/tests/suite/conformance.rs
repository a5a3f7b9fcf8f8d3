//! The official conformance suite: the reference server of `tests/conformance` directly and through the broker, and the
//! broker as the client under test. What has to pass stands in `tests/conformance/expected.txt`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod clients;
mod deployment;
mod expected;
mod outcome;
mod servers;
mod suite;
