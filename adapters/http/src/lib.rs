//! MCP over Streamable HTTP.

pub mod client;
