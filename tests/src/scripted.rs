//! Scripted peers: small servers and clients of each revision, without an SDK, which say exactly what a test wants on the wire
//! and write down all that they hear.
//!
//! A [`Server`] behaves as the name of the tool (prompt, resource) says; a modern one asks its client with `input_required`, a
//! legacy one with requests of its own in mid-call. A [`Client`] answers what it is asked by the script of the test. Whatever
//! belongs to one run of a test carries its [tag](tag_in), so that anything that strays is seen.

mod asks;
mod catalog;
mod client;
mod client_http;
mod client_sse;
mod client_stdio;
mod content;
mod http;
mod server;
mod sse;
mod state;
mod stdio;
mod tape;
mod tasks;
mod tools;

pub use asks::{Ask, rounds};
pub use catalog::{Listed, entries, template};
pub use client::{Answer, Answers, Client, Declared, Got, Inbox, Wire};
pub use client_http::HttpClient;
pub use client_sse::SseClient;
pub use client_stdio::StdioClient;
pub use content::{blocks, note, structured};
pub use http::serve_http;
pub use server::{Options, Server};
pub use sse::serve_sse;
pub use stdio::serve_stdio;
pub use tape::{Noted, Tape, Way};
pub use tasks::{CREATED_AT, TASKS};

use serde_json::{Value, json};
use spanwire_mcp::{Era, Revision};

/// What every tag begins with.
const TAG: &str = "tag-";

/// The tag of a run.
pub fn tag(number: usize) -> String {
    format!("{TAG}{number:05}")
}

/// The tags in a text, in order, as often as they come.
pub fn tags_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(TAG).filter_map(|(at, _)| {
        let end = at + TAG.len() + 5;
        text.get(at..end).filter(|tag| tag.bytes().skip(TAG.len()).all(|byte| byte.is_ascii_digit()))
    })
}

/// The first tag in a message.
pub fn tag_in(message: &Value) -> Option<String> {
    tags_in(&message.to_string()).next().map(str::to_owned)
}

/// True for 2026-07-28 and later.
pub(crate) fn is_modern(revision: Revision) -> bool {
    revision.era() == Era::Modern
}

/// `{"code":…,"message":…}`, with data unless it is null.
pub(crate) fn error(code: i64, message: &str, data: Value) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if !data.is_null() {
        error["data"] = data;
    }
    error
}
