//! The harness of the end-to-end tests, and the benchmark.

pub mod bench;
pub mod certificates;
pub mod cluster;
pub mod fault_server;
pub mod ledger_writer;
pub mod nats;
pub mod node;
pub mod otlp;
pub mod peers;
pub mod rust_server;
pub mod scripted;
