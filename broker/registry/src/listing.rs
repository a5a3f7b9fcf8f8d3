//! Reads everything that a server lists, and believes nothing of it.
//!
//! A server may hang, page for ever, send huge, nameless or doubled entries. Each of these costs the server its own entry or list
//! and nobody else anything.

use std::{collections::HashSet, sync::Arc, time::Duration};

use spanwire_mcp::{Json, string_literal};
use spanwire_model::{
    Error, ErrorKind, ListKind, ListingEntry, Principal, Result, ServerFacts, ServerId, Upstream, UpstreamCall,
};
use tokio::time::Instant;
use uuid::Uuid;

/// What one server may list.
#[derive(Debug, Clone)]
pub struct ListLimits {
    /// Longest that reading one list may take, all pages together.
    pub timeout: Duration,
    /// Pages of one list.
    pub max_pages: usize,
    /// Entries of one list.
    pub max_entries: usize,
    /// Bytes of one entry.
    pub max_entry_bytes: usize,
    /// Bytes of one list.
    pub max_list_bytes: usize,
}

impl Default for ListLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_pages: 100,
            max_entries: 5000,
            max_entry_bytes: 256 * 1024,
            max_list_bytes: 4 * 1024 * 1024,
        }
    }
}

/// One list, and what was wrong with it.
#[derive(Debug, Default)]
pub(crate) struct ReadList {
    pub(crate) entries: Vec<ListingEntry>,
    pub(crate) ttl_ms: u64,
    pub(crate) private: bool,
    pub(crate) complaints: Complaints,
    /// False when reading it broke off.
    pub(crate) is_whole: bool,
}

/// What was wrong with a listing, bounded.
#[derive(Debug, Default, Clone)]
pub(crate) struct Complaints {
    first: Vec<String>,
    more: usize,
}

impl Complaints {
    const SHOWN: usize = 3;

    pub(crate) fn add(&mut self, text: String) {
        if self.first.len() < Self::SHOWN {
            self.first.push(text);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.more += other.more;
        other.first.into_iter().for_each(|text| self.add(text));
    }

    pub(crate) fn text(&self) -> Option<Arc<str>> {
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        (!self.first.is_empty()).then(|| format!("{}{more}", self.first.join("; ")).into())
    }
}

/// Reads one list. A server without the capability lists nothing.
pub(crate) async fn read_one(
    server: &ServerId,
    upstream: &Arc<dyn Upstream>,
    facts: &ServerFacts,
    kind: ListKind,
    limits: &ListLimits,
) -> ReadList {
    let mut list = ReadList { ttl_ms: u64::MAX, ..ReadList::default() };
    if !facts.has(kind.capability()) {
        return ReadList { is_whole: true, ..list };
    }
    let deadline = Instant::now() + limits.timeout;
    match tokio::time::timeout_at(deadline, read_pages(upstream, kind, limits, deadline, &mut list)).await {
        Ok(Ok(())) => list.is_whole = true,
        Ok(Err(error)) if matches!(error.json_rpc_code(), spanwire_mcp::codes::METHOD_NOT_FOUND) => {
            list.is_whole = true
        }
        Ok(Err(error)) => list.complaints.add(format!("{}: {error}", kind.method())),
        Err(_) => {
            list.complaints.add(format!("{} did not answer within {} ms", kind.method(), limits.timeout.as_millis()))
        }
    }
    if !list.is_whole {
        // Nobody should keep half a list for long.
        list.ttl_ms = 0;
    }
    if let Some(text) = list.complaints.text() {
        tracing::warn!(%server, list = kind.member(), "{text}");
    }
    list
}

async fn read_pages(
    upstream: &Arc<dyn Upstream>,
    kind: ListKind,
    limits: &ListLimits,
    deadline: Instant,
    list: &mut ReadList,
) -> Result<()> {
    let (mut names, mut cursors, mut bytes) = (HashSet::new(), HashSet::new(), 0);
    let mut params = Json::empty_object();
    for _ in 0..limits.max_pages {
        let call = UpstreamCall {
            call_id: Uuid::now_v7(),
            principal: Principal::OPERATOR.into(),
            method: kind.method(),
            params,
            deadline,
            trace: None,
        };
        let result = upstream.call(call).outcome().await?;
        let entries = result.get(kind.member());
        let Some(entries) = entries.filter(|entries| entries.as_bytes().first() == Some(&b'[')) else {
            return Err(Error::new(ErrorKind::BadServer, format!("the result has no array \"{}\"", kind.member())));
        };
        list.ttl_ms = list.ttl_ms.min(result.get("ttlMs").and_then(|ttl| ttl.read().ok()).unwrap_or(0));
        // Only what is called public may be shared between callers (2026-07-28, server/utilities/caching).
        list.private |= result.get("cacheScope").is_none_or(|scope| scope.as_str() != "\"public\"");
        for entry in entries.elements() {
            match check_entry(kind, &entry, limits) {
                Err(complaint) => list.complaints.add(complaint),
                Ok(name) if names.contains(&name) => {
                    list.complaints.add(format!("{} \"{name}\" is listed twice", noun(kind)));
                }
                Ok(_) if list.entries.len() >= limits.max_entries || bytes + entry.len() > limits.max_list_bytes => {
                    list.complaints.add(format!(
                        "more than {} {} or {} bytes: the rest is dropped",
                        limits.max_entries,
                        kind.member(),
                        limits.max_list_bytes
                    ));
                    return Ok(());
                }
                Ok(name) => {
                    bytes += entry.len();
                    names.insert(name.clone());
                    // Copied out of the page, so that a small entry does not keep a large body alive.
                    let json = Json::from_trusted(entry.as_bytes().to_vec());
                    list.entries.push(ListingEntry { name, json });
                }
            }
        }
        let Some(cursor) = result.get("nextCursor").and_then(|cursor| cursor.read::<String>().ok()) else {
            return Ok(());
        };
        params = Json::from_trusted(format!("{{\"cursor\":{}}}", string_literal(&cursor)));
        if !cursors.insert(cursor) {
            list.complaints.add(format!("{} gave the same cursor twice", kind.method()));
            return Ok(());
        }
    }
    list.complaints.add(format!("{} has more than {} pages: the rest is dropped", kind.method(), limits.max_pages));
    Ok(())
}

fn noun(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tool",
        ListKind::Prompts => "prompt",
        ListKind::Resources => "resource",
        ListKind::Templates => "resource template",
    }
}

/// The name of an entry that clients can take; what is wrong with it otherwise. Clients refuse a whole list for one entry
/// that breaks the schema, so such an entry must not get into the merged one.
fn check_entry(kind: ListKind, entry: &Json, limits: &ListLimits) -> Result<Arc<str>, String> {
    let noun = noun(kind);
    let name: Option<String> = entry.get(kind.key()).and_then(|name| name.read().ok());
    let Some(name) = name else { return Err(format!("a {noun} has no \"{}\"", kind.key())) };
    let shown: String = name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if entry.len() > limits.max_entry_bytes {
        return Err(format!("{noun} \"{shown}\" has {} bytes, the limit is {}", entry.len(), limits.max_entry_bytes));
    }
    let valid_name = match kind {
        ListKind::Tools | ListKind::Prompts => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b':');
            (1..=128).contains(&name.len()) && name.bytes().all(allowed)
        }
        ListKind::Resources | ListKind::Templates => {
            (1..=2048).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == ' ')
        }
    };
    if !valid_name {
        return Err(format!("{noun} \"{shown}\" has an invalid name"));
    }
    let is_string = |key: &str| entry.get(key).is_none_or(|value| value.as_bytes().first() == Some(&b'"'));
    let is_object = |key: &str| entry.get(key).is_none_or(|value| value.is_object());
    let is_array = |key: &str| entry.get(key).is_none_or(|value| value.as_bytes().first() == Some(&b'['));
    let valid = match kind {
        ListKind::Tools => {
            let schema = entry.get("inputSchema");
            let typed = schema.and_then(|schema| schema.get("type")).is_some_and(|kind| kind.as_str() == "\"object\"");
            typed && is_object("outputSchema") && is_object("execution")
        }
        ListKind::Prompts => is_array("arguments"),
        ListKind::Resources | ListKind::Templates => {
            entry.get("name").is_some() && is_string("name") && is_string("mimeType")
        }
    };
    let common = is_string("description") && is_string("title") && is_array("icons");
    if !valid || !common || !is_object("annotations") || !is_object("_meta") {
        return Err(format!("{noun} \"{shown}\" does not fit the schema of the protocol"));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests;
