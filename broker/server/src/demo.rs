//! The demo: two small MCP servers of our own, and a client that uses them through a node.

mod client;
mod folder;
mod notes;
mod server;
mod weather;

pub(crate) use client::{CallSpan, McpClient};
pub(crate) use folder::TemporaryFolder;
pub(crate) use notes::Notes;
pub(crate) use server::serve;
pub(crate) use weather::Weather;

#[cfg(test)]
mod tests;
