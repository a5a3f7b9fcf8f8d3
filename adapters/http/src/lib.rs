//! HTTP on both sides: the edge that clients call, the bridge from stdio to it, and the client of HTTP servers.

pub mod bridge;
pub mod client;
pub mod server;
