#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod completion;
mod duty;
mod golden;
mod ledger;
mod machine;
mod memory;
mod resources;
mod room;
mod server;
mod service;
mod spec;
mod strict;
mod watch;

use std::time::Duration;

use spanwire_mcp::Json;
use spanwire_model::{Author, ReadLevel, TraceContext};
use tokio::time::Instant;

use crate::{Key, Operation, Options, Reading, SpaceName};

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn space(text: &str) -> SpaceName {
    text.parse().expect("a space")
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned().into()).expect("JSON")
}

fn put(name: &str, value: &str) -> Operation {
    Operation::Put { key: key(name), value: json(value), ttl_ms: None }
}

fn put_for(name: &str, value: &str, ttl_ms: u64) -> Operation {
    Operation::Put { key: key(name), value: json(value), ttl_ms: Some(ttl_ms) }
}

fn append(name: &str, values: &[&str]) -> Operation {
    Operation::Append { key: key(name), values: values.iter().map(|value| json(value)).collect() }
}

fn delete(name: &str) -> Operation {
    Operation::Delete { key: key(name) }
}

fn author(principal: &str) -> Author {
    let trace = TraceContext { trace_id: 0xabc, span_id: 0xdef, sampled: true, tracestate: None };
    Author { principal: principal.into(), node: "left".parse().unwrap(), call: None, trace: Some(trace) }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn options() -> Options {
    Options { operation: None, deadline: deadline() }
}

fn now() -> Reading {
    Reading { level: ReadLevel::Local, deadline: deadline() }
}
