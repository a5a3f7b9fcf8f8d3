//! Keys and spaces as resources (2026-07-28, server/resources).

use serde::Serialize;
use serde_json::json;
use spanwire_mcp::{Json, string_literal};
use spanwire_model::{Outcome, ReadLevel, Result};

use super::{
    Asked,
    answer::ShownItem,
    complete, json_of,
    uri::{self, Named},
};
use crate::{Item, Key, ListQuery, Reading, Seen, SpaceName, Writer};

/// The template of a key.
pub(super) const KEY: &str = "ctx://{space}/{+key}";
/// The template of a space.
pub(super) const SPACE: &str = "ctx://{space}";

/// What can be read without being listed: [`KEY`] and [`SPACE`].
pub(super) const TEMPLATES: &str = r#"[
{"uriTemplate":"ctx://{space}/{+key}","name":"key","title":"A key of a shared space",
"description":"The JSON value of a key; its version and writer are in _meta. Subscribe to hear of each change.",
"mimeType":"application/json"},
{"uriTemplate":"ctx://{space}","name":"space","title":"A shared space",
"description":"The keys of a space with versions and writers, without values. Subscribe to hear of each change of any key.",
"mimeType":"application/json"}]"#;

/// In `_meta` of a key's contents: its version.
const VERSION: &str = "spanwire/version";
/// In `_meta` of contents: the sequence that they reflect.
const SEQUENCE: &str = "spanwire/sequence";
/// In `_meta` of a key's contents: who wrote the version.
const WRITER: &str = "spanwire/writer";
/// In `_meta` of contents: how long the log has been out of reach.
const STALE_MS: &str = "spanwire/stale_ms";

/// Reads a resource.
pub(super) async fn read(asked: &Asked, uri: &str) -> Outcome {
    let reading = Reading { level: ReadLevel::Local, deadline: asked.deadline };
    let named = uri::parse(uri)?;
    match &named {
        Named::Key(space, key) => {
            let seen = asked.behalf.get(space, key, reading).await?;
            let (stale, sequence) = (seen.stale_ms, seen.sequence);
            let Some(Item { version, writer, value: Some(value), .. }) = seen.value else {
                return Err(named.unknown());
            };
            contents(uri, &value, &about(sequence, stale, Some((version, &writer)))?)
        }
        Named::Space(space) => {
            let Seen { value: info, .. } = asked.behalf.describe(space, reading).await?;
            if info.is_none() {
                return Err(named.unknown());
            }
            let query = ListQuery::default();
            let seen = asked.behalf.list(space, &query, reading).await?;
            let keys = seen.value.items.iter();
            let keys = keys.map(ShownItem::from).collect();
            let list = List { space, keys, next: seen.value.next.as_ref() };
            contents(uri, &json_of(&list)?, &about(seen.sequence, seen.stale_ms, None)?)
        }
    }
}

/// The list of a space.
#[derive(Serialize)]
struct List<'a> {
    space: &'a SpaceName,
    /// Without URIs: whoever reads through a federated view sees them under other names, and nobody rewrites them in here.
    keys: Vec<ShownItem<'a>>,
    /// The last of these keys, when there are more: the tool `list` goes on after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a Key>,
}

fn about(sequence: u64, stale_ms: Option<u64>, version: Option<(u64, &Writer)>) -> Result<Json> {
    let mut about = json!({ SEQUENCE: sequence });
    if let Some(stale_ms) = stale_ms {
        about[STALE_MS] = stale_ms.into();
    }
    if let Some((version, writer)) = version {
        about[VERSION] = version.into();
        about[WRITER] = json_of(writer)?.to_value();
    }
    Ok(Json::from_trusted(about.to_string()))
}

fn contents(uri: &str, text: &Json, about: &Json) -> Outcome {
    let (uri, text) = (string_literal(uri), string_literal(text.as_str()));
    let content =
        format!("[{{\"uri\":{uri},\"mimeType\":\"application/json\",\"text\":{text},\"_meta\":{}}}]", about.as_str());
    let mut out = complete(content.len() + 64);
    out.member("contents", content.as_bytes());
    out.member("ttlMs", b"0");
    out.member("cacheScope", b"\"private\"");
    Ok(out.finish())
}
