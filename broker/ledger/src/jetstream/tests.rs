//! Against a real nats-server: what only the ledger of a cluster has to do. What all ledgers do is in the contract suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod appends;
mod cluster;
mod contract;
mod disputes;
mod feeds;
mod harness;
mod leaf;
mod rebuilds;
mod server;
