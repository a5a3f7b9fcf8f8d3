//! `initialize`, answered from `server/discover` (2025-11-25, basic/lifecycle, "Initialization").

use std::{collections::BTreeSet, str::FromStr};

use serde::Deserialize;
use spanwire_mcp::{Era, Json, ObjectWriter, Revision, meta, string_literal};
use spanwire_model::{Error, ErrorKind};

use super::{DEFAULT_LOG_LEVEL, Questions, Session, adapt};

/// The revision to answer with: the one asked for when a session can speak it, else the newest that can.
pub fn negotiate(requested: &str) -> Revision {
    match Revision::from_str(requested) {
        // 2024-11-05 has the same session, over either transport.
        Ok(revision) if revision.era() == Era::Legacy => revision,
        Ok(_) | Err(_) => Revision::LATEST_LEGACY,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams {
    protocol_version: String,
    #[serde(default)]
    client_info: Option<Json>,
    #[serde(default)]
    capabilities: Option<Json>,
}

impl Session {
    /// Reads the params of `initialize`.
    pub fn open(params: Option<&Json>) -> Result<Self, Error> {
        let invalid = |text: String| Error::new(ErrorKind::InvalidParams, text);
        let params = params.ok_or_else(|| invalid("params of initialize are missing".to_owned()))?;
        let read: InitializeParams = params.read().map_err(|error| invalid(format!("invalid params: {error}")))?;
        Ok(Self {
            revision: negotiate(&read.protocol_version),
            client_info: read.client_info.filter(Json::is_object),
            capabilities: read.capabilities.as_ref().map_or_else(Json::empty_object, adapt::capabilities),
            log_level: DEFAULT_LOG_LEVEL,
            resources: BTreeSet::new(),
            questions: Questions::default(),
            tasks: super::tasks::Tasks::default(),
        })
    }

    /// The result of `initialize`, from the result of `server/discover`.
    pub fn initialize_result(&self, discovered: &Json) -> Json {
        let mut result = ObjectWriter::with_capacity(discovered.len() + 256);
        result.member("protocolVersion", string_literal(self.revision.as_str()).as_bytes());
        let found = discovered.get("capabilities");
        let capabilities = self.tasks.announce(self.revision, found.as_ref(), capabilities(found.as_ref()));
        result.member("capabilities", capabilities.as_bytes());
        let info = discovered.get("_meta").and_then(|meta| meta.get(meta::SERVER_INFO));
        let own =
            || Json::from_trusted(concat!(r#"{"name":"spanwire","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#));
        result.member("serverInfo", info.filter(Json::is_object).unwrap_or_else(own).as_bytes());
        if let Some(instructions) = discovered.get("instructions").filter(|text| text.as_str().starts_with('"')) {
            result.member("instructions", instructions.as_bytes());
        }
        result.finish()
    }
}

/// Capabilities of a session: what was discovered, with the notifications that the session itself can give.
fn capabilities(discovered: Option<&Json>) -> Json {
    let has = |name: &str| discovered.and_then(|capabilities| capabilities.get(name));
    let mut out = ObjectWriter::with_capacity(256);
    // A session keeps the level itself, whatever is behind it.
    out.member("logging", b"{}");
    if has("completions").is_some() {
        out.member("completions", b"{}");
    }
    for (name, value) in [
        ("prompts", &br#"{"listChanged":true}"#[..]),
        ("resources", br#"{"subscribe":true,"listChanged":true}"#),
        ("tools", br#"{"listChanged":true}"#),
    ] {
        if has(name).is_some() {
            out.member(name, value);
        }
    }
    if let Some(experimental) = has("experimental").filter(Json::is_object) {
        out.member("experimental", experimental.as_bytes());
    }
    out.finish()
}
