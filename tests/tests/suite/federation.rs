//! Federation: real servers behind one or two real nodes, asked by real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod bus;
mod changes;
mod command_line;
mod compare;
mod deployment;
mod differences;
mod hostile;
mod operations;
mod policy;
mod rust_peer;
mod rust_sdk;
mod sessions;
