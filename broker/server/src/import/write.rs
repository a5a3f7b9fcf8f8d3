//! Server tables as TOML, added to the end of a configuration file.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use spanwire_model::ServerId;

use super::ImportedServer;
use crate::config::{ConfigError, Era, Secret, ServerTable, parse};

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntoError {
    /// The target is no configuration, before or after.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The target has servers of the same id.
    #[error("{}: already has {}: nothing was written; remove them there or rename them in the source", path.display(), list(ids))]
    Exists {
        /// The target.
        path: PathBuf,
        /// The ids, at least one.
        ids: Vec<ServerId>,
    },
    /// The target cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn list(ids: &[ServerId]) -> String {
    ids.iter().map(|id| format!("[servers.{id}]")).collect::<Vec<_>>().join(", ")
}

/// Adds servers to a configuration file, made if it is missing, readable by its owner only since it may hold secrets.
/// What stands in the file keeps its bytes. All servers are added or none.
pub(crate) fn add_to_file(path: &Path, servers: &[ImportedServer]) -> Result<(), IntoError> {
    let fail = |source| IntoError::Io { path: path.to_owned(), source };
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(fail(error)),
    };
    let shown = path.display().to_string();
    let existing = parse(&before, &shown)?;
    let ids: Vec<ServerId> =
        servers.iter().map(|server| &server.id).filter(|id| existing.servers.contains_key(*id)).cloned().collect();
    if !ids.is_empty() {
        return Err(IntoError::Exists { path: path.to_owned(), ids });
    }
    let mut text = before;
    for server in servers {
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        text.push_str(&server_toml(&server.id, &server.table));
    }
    // Tables at the end are not always possible: `servers = {…}` is closed for good. Then the file stays as it is.
    parse(&text, &shown)?;
    replace(path, &text).map_err(fail)
}

/// Writes beside the file and renames, so that a reader sees the old file or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file name"))?.to_string_lossy().into_owned();
    let beside = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if let Ok(metadata) = fs::metadata(&path) {
            file.set_permissions(metadata.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        // Nothing else can be done about the leftover.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A server as a TOML table, with its secrets: for files only.
pub(crate) fn server_toml(id: &ServerId, table: &ServerTable) -> String {
    let mut out = format!("[servers.{id}]\n");
    let mut line = |key: &str, value: toml::Value| out.push_str(&format!("{key} = {value}\n"));
    let text = |text: &String| toml::Value::String(text.clone());
    let texts = |texts: &[String]| toml::Value::Array(texts.iter().map(text).collect());
    if let Some(command) = &table.command {
        line("command", text(command));
    }
    if !table.args.is_empty() {
        line("args", texts(&table.args));
    }
    if !table.inherit_env.is_empty() {
        line("inherit_env", texts(&table.inherit_env));
    }
    if let Some(cwd) = &table.cwd {
        line("cwd", text(cwd));
    }
    if let Some(url) = &table.url {
        line("url", text(url));
    }
    if table.era != Era::Auto {
        line("era", toml::Value::String(table.era.as_str().to_owned()));
    }
    if let Some(limit) = table.max_in_flight.and_then(|limit| i64::try_from(limit).ok()) {
        line("max_in_flight", toml::Value::Integer(limit));
    }
    if let Some(timeout) = table.call_timeout_ms.and_then(|timeout| i64::try_from(timeout).ok()) {
        line("call_timeout_ms", toml::Value::Integer(timeout));
    }
    if !table.enabled {
        line("enabled", toml::Value::Boolean(false));
    }
    for (member, map) in [("env", &table.env), ("headers", &table.headers)] {
        if !map.is_empty() {
            let exposed =
                |(key, value): (&String, &Secret)| (key.clone(), toml::Value::String(value.expose().to_owned()));
            let values: toml::Table = map.iter().map(exposed).collect();
            out.push_str(&format!("\n[servers.{id}.{member}]\n{values}"));
        }
    }
    out
}
