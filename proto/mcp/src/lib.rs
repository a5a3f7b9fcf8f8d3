//! JSON-RPC 2.0 and the Model Context Protocol on the wire.
//!
//! This crate does no I/O. It reads exactly what a broker must decide on (method, id, name, uri, cursor, `_meta`) and
//! carries `params`, `result` and `error` as bytes, so that whatever this code does not know survives unchanged.
//!
//! Names follow the MCP specification. Where a rule comes from it, the page is named by revision and section.

pub mod codes;
pub mod header;
mod id;
pub mod input;
mod json;
mod message;
pub mod meta;
mod method;
pub mod mirror;
mod params;
mod revision;
pub mod tasks;

pub use id::RequestId;
pub use json::{Entries, Entry, Json, ObjectWriter, string_literal};
pub use message::{
    ErrorObject, Limits, Message, Notification, Parsed, Request, Response, WireError, WireErrorKind, join_lines,
};
pub use method::Method;
pub use params::{CompletionRef, Meta, Params, SubscriptionFilter};
pub use revision::{Era, Revision, UnknownRevision};
