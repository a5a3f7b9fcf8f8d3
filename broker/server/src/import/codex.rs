//! Codex: `[mcp_servers.NAME]` in `config.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Format, Found, ImportError};
use crate::config::{Secret, ServerTable};

#[derive(Deserialize)]
struct File {
    mcp_servers: Option<BTreeMap<String, Server>>,
}

#[derive(Deserialize)]
struct Server {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    env_vars: Vec<String>,
    cwd: Option<String>,
    url: Option<String>,
    bearer_token_env_var: Option<String>,
    #[serde(default)]
    http_headers: BTreeMap<String, String>,
    #[serde(default)]
    env_http_headers: BTreeMap<String, String>,
    tool_timeout_sec: Option<f64>,
    enabled: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, toml::Value>,
}

pub(super) fn parse(text: &str, file: &str) -> Result<Found, ImportError> {
    let parsed: File = toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ImportError::Syntax { file: file.to_owned(), what: format!("line {line}: {}", error.message()) }
    })?;
    let servers = parsed.mcp_servers.ok_or_else(|| ImportError::Unknown { file: file.to_owned() })?;
    let mut found = Found { format: Format::Codex, servers: Vec::new(), warnings: Vec::new() };
    for (name, server) in servers {
        if server.command.is_none() && server.url.is_none() {
            let text = format!("server \"{name}\" is left out: it has neither \"command\" nor \"url\"");
            found.warnings.push(text);
            continue;
        }
        for key in server.rest.keys().filter(|key| *key != "startup_timeout_sec" && *key != "startup_timeout_ms") {
            found.warnings.push(format!("server \"{name}\": \"{key}\" is not taken over"));
        }
        if server.enabled == Some(false) {
            found.warnings.push(format!("server \"{name}\" is disabled in the file and stays so"));
        }
        found.servers.push((name, table(server)));
    }
    Ok(found)
}

/// Codex resolves no placeholders, so every `${` of its file is plain text.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

fn table(server: Server) -> ServerTable {
    let secret = |(name, value): (String, String)| (name, Secret::new(literal(&value)));
    let mut table = ServerTable { enabled: server.enabled.unwrap_or(true), ..ServerTable::default() };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
    let milliseconds = server.tool_timeout_sec.map(|seconds| (seconds * 1000.0) as u64);
    table.call_timeout_ms = milliseconds.filter(|timeout| *timeout > 0);
    match server.url {
        Some(url) => {
            table.url = Some(literal(&url));
            table.headers = server.http_headers.into_iter().map(secret).collect();
            let from_env = server.env_http_headers.into_iter();
            table.headers.extend(from_env.map(|(name, variable)| (name, Secret::new(format!("${{{variable}}}")))));
            if let Some(variable) = server.bearer_token_env_var {
                table.headers.insert("Authorization".to_owned(), Secret::new(format!("Bearer ${{{variable}}}")));
            }
        }
        None => {
            table.command = server.command.as_deref().map(literal);
            table.args = server.args.iter().map(|text| literal(text)).collect();
            table.env = server.env.into_iter().map(secret).collect();
            table.inherit_env = server.env_vars;
            table.cwd = server.cwd.as_deref().map(literal);
        }
    }
    table
}
