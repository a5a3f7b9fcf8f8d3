//! Takes over MCP servers from the files of other hosts: Claude Desktop, Claude Code, Cursor, Windsurf, VS Code, Codex.
//!
//! The format is found out by the content, never by the file's name. The source is read and never changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use spanwire_model::ServerId;

use crate::config::ServerTable;

mod codex;
mod ids;
mod json_host;
mod jsonc;
mod placeholder;
mod write;

pub(crate) use write::{IntoError, add_to_file};

/// Largest file in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Most servers in one file.
const MAX_SERVERS: usize = 512;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// JSON with `mcpServers`: Claude Desktop, Claude Code, Cursor, Windsurf and others.
    McpServers,
    /// JSON with `servers`: VS Code.
    VsCode,
    /// TOML with `[mcp_servers.NAME]`: Codex.
    Codex,
}

impl Format {
    /// The format in a few words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::McpServers => "mcpServers JSON",
            Self::VsCode => "VS Code JSON",
            Self::Codex => "Codex TOML",
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Imported {
    /// Whose file it is.
    pub(crate) format: Format,
    /// Its servers, ordered by their names in the file.
    pub(crate) servers: Vec<ImportedServer>,
    /// What was changed or left out, and what is left to do, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// One server of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportedServer {
    /// Its name in the file.
    pub(crate) name: String,
    /// Its id here, different from all others of the file.
    pub(crate) id: ServerId,
    /// How it is reached.
    pub(crate) table: ServerTable,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither JSON nor TOML.
    #[error("{file}: {what}")]
    Syntax {
        /// The file as it is shown.
        file: String,
        /// What is wrong, and where.
        what: String,
    },
    /// Read, but it is nobody's.
    #[error(
        "{file}: no MCP servers found: expected \"mcpServers\" (Claude, Cursor), \"servers\" (VS Code) or [mcp_servers] (Codex)"
    )]
    Unknown {
        /// The file as it is shown.
        file: String,
    },
    /// A server is not an object, or there are too many.
    #[error("{file}: {what}")]
    Invalid {
        /// The file as it is shown.
        file: String,
        /// What is wrong, and with what.
        what: String,
    },
}

/// Reads a file of another host.
pub(crate) fn read(path: &Path) -> Result<Imported, ImportError> {
    let fail = |source| ImportError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(fail)?.len();
    if size > MAX_FILE_BYTES {
        let text = format!("{size} bytes are above the limit of {MAX_FILE_BYTES}");
        return Err(fail(std::io::Error::other(text)));
    }
    parse(&fs::read_to_string(path).map_err(fail)?, &path.display().to_string())
}

/// Reads the content of a file. `file` is what errors call it.
pub(crate) fn parse(text: &str, file: &str) -> Result<Imported, ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    // A TOML document never begins with a brace.
    let mut found = if jsonc::plain(text).trim_start().starts_with('{') {
        json_host::parse(text, file)?
    } else {
        codex::parse(text, file)?
    };
    if found.servers.len() > MAX_SERVERS {
        let what = format!("{} servers are above the limit of {MAX_SERVERS}", found.servers.len());
        return Err(ImportError::Invalid { file: file.to_owned(), what });
    }
    let servers = ids::assign(found.servers, &mut found.warnings);
    Ok(Imported { format: found.format, servers, warnings: found.warnings })
}

/// What a format's reader hands over: servers under their names in the file.
struct Found {
    format: Format,
    servers: Vec<(String, ServerTable)>,
    warnings: Vec<String>,
}

#[cfg(test)]
mod tests;
