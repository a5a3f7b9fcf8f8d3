//! Traces and spans as an operator reads them.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::Value;
use spanwire_model::{Error, ErrorKind, Result};

/// Which traces are wanted. Conditions that are set must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Found in the name or an attribute of any span, in any case.
    pub text: Option<String>,
    /// Only those with an error.
    pub errors_only: bool,
    /// Only those that took at least this long.
    pub min_duration: Duration,
}

/// One trace in one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: u128,
    /// The name of its first span.
    pub name: String,
    /// When its first span began, since 1970 UTC.
    pub start_unix_nanos: u64,
    /// When its last span ended, since 1970 UTC.
    pub end_unix_nanos: u64,
    /// How many spans of it are held.
    pub spans: u32,
    /// How many of them failed.
    pub errors: u32,
    /// What the first of those said.
    pub error: Option<String>,
    /// The nodes that it visited, in their order.
    pub nodes: Vec<String>,
    /// The servers that it reached, in their order.
    pub servers: Vec<String>,
}

/// One trace with its spans.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// The trace in one line.
    pub summary: TraceSummary,
    /// Its spans, ordered by start.
    pub spans: Vec<SpanRecord>,
}

/// What was found for a prefix of a trace id.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceMatch {
    /// Nothing, or nothing any more.
    None,
    /// One trace.
    One(Box<Trace>),
    /// More than one.
    Many,
}

/// One span that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRecord {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// The span that it belongs to, held here or not.
    pub parent: Option<u64>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SpanKind,
    /// When it began, since 1970 UTC.
    pub start_unix_nanos: u64,
    /// When it ended, since 1970 UTC.
    pub end_unix_nanos: u64,
    /// Its attributes in the order in which they were set.
    pub attributes: Vec<(String, Value)>,
    /// Why it failed, when it did; empty when it did not say.
    pub error: Option<String>,
    /// The node that recorded it.
    pub node: String,
}

/// What part of an exchange a span is (OpenTelemetry, `SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Inside one node.
    Internal,
    /// Answers a request.
    Server,
    /// Makes a request.
    Client,
    /// Sends a message.
    Producer,
    /// Takes a message.
    Consumer,
}

/// Fewest hex digits that a trace is looked up by.
const MIN_PREFIX: usize = 4;
/// Hex digits of a whole trace id.
const ID_DIGITS: usize = 32;

/// The trace ids that begin with the hex digits.
pub(crate) fn ids_with_prefix(prefix: &str) -> Result<RangeInclusive<u128>> {
    let digits = prefix.len();
    if !(MIN_PREFIX..=ID_DIGITS).contains(&digits) || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let text = format!("a trace id is {ID_DIGITS} hex digits, or the first {MIN_PREFIX} or more of them");
        return Err(Error::new(ErrorKind::InvalidParams, text));
    }
    let value = u128::from_str_radix(prefix, 16).unwrap_or_default();
    let free_bits = 4 * (ID_DIGITS - digits) as u32;
    let low = value << free_bits;
    Ok(low..=low | ((1 << free_bits) - 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prefix_is_a_range_of_ids() {
        let check = |prefix: &str, expected: Option<(u128, u128)>| {
            let got = ids_with_prefix(prefix).ok().map(RangeInclusive::into_inner);
            assert_eq!(got, expected, "{prefix}");
        };
        let whole = "0af7651916cd43dd8448eb211c80319c";
        let id = u128::from_str_radix(whole, 16).unwrap();
        check(whole, Some((id, id)));
        check(&whole.to_uppercase(), Some((id, id)));
        check("ffff", Some((0xffff << 112, u128::MAX)));
        check("0001", Some((1 << 112, (2 << 112) - 1)));
        for bad in ["", "abc", "xyzw", "+abc", "0af7651916cd43dd8448eb211c80319c0"] {
            check(bad, None);
        }
    }
}
