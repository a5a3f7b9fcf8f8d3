//! One connection to NATS: how to reach it, how to prove who one is, and its state.
//!
//! A node has one [`Config`] and opens a [`Connection`] per purpose: one for calls and events (the backbone), one for the durable log and
//! the leases (the ledger). They do not share a socket, so a node that catches up on a long log does not hold up its calls, and a
//! server that finds one of them too slow closes that one only.
//!
//! Everything that a node subscribes to begins with `{prefix}.{tenant}.` ([`Config::base`]), answers to JetStream requests included: the
//! permissions of a tenant need no `_INBOX`. See `broker/decisions/0022-what-a-tenant-may-do-in-nats.md`.

mod config;
mod connection;
mod link;
mod probe;
mod tls;

pub use config::{Config, Credentials, Tls};
pub use connection::{Connection, connect};
pub use link::{Link, check_version, jittered};
pub use probe::{Cause, Probe, Refused, probe};
