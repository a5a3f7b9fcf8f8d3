//! MCP over stdin and stdout: servers that run as child processes of this node.
//!
//! A child is started through a guard ([`guard`]): a small process that outlives neither the broker nor the child, and
//! leaves none of the child's own children behind.

mod children;
mod connector;
mod environment;
mod framing;
pub mod guard;
mod leash;
mod process;
mod stderr;
mod wire;

pub use connector::{Config, StdioConnector};
