//! From file, flags and variables to one checked [`Config`].

use std::{
    collections::btree_map::Entry,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use spanwire_model::NodeId;

use super::{Config, ConfigError, Lookup, Nats, from_environment};

/// Largest configuration file in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What flags and variables say instead of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// `--node-id`.
    pub(crate) node_id: Option<NodeId>,
    /// `--data`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `--listen`.
    pub(crate) http: Option<SocketAddr>,
    /// `--listen-grpc`.
    pub(crate) grpc: Option<SocketAddr>,
    /// `--nats`.
    pub(crate) nats_url: Option<String>,
    /// `--otlp`.
    pub(crate) otlp_endpoint: Option<String>,
    /// `--mcp-json`: a file of another host whose servers are added.
    pub(crate) mcp_json: Option<PathBuf>,
}

/// Where a configuration comes from. [`Source::load`] reads it again, with the same flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// The file; `None` starts from the defaults.
    pub(crate) path: Option<PathBuf>,
    /// What goes before the file.
    pub(crate) overrides: Overrides,
}

impl Source {
    /// Reads, resolves and checks. Warnings are about an imported file, for people.
    pub(crate) fn load(&self) -> Result<(Config, Vec<String>), LoadError> {
        self.load_with(&from_environment)
    }

    /// [`Self::load`] with another environment.
    pub(super) fn load_with(&self, lookup: Lookup<'_>) -> Result<(Config, Vec<String>), LoadError> {
        let (mut config, file) = match &self.path {
            Some(path) => (parse(&read(path)?, &path.display().to_string())?, path.display().to_string()),
            None => (Config::default(), "configuration".to_owned()),
        };
        let warnings = self.apply(&mut config)?;
        config.resolve(&file, lookup)?;
        if let Some(nats) = &mut config.nats {
            nats.take_credentials_from_url();
        }
        config.source = self.clone();
        match config.problems() {
            problems if problems.is_empty() => Ok((config, warnings)),
            problems => Err(ConfigError::Invalid { file, problems }.into()),
        }
    }

    fn apply(&self, config: &mut Config) -> Result<Vec<String>, LoadError> {
        let overrides = self.overrides.clone();
        config.node.id = overrides.node_id.or(config.node.id.take());
        config.node.data_dir = overrides.data_dir.or(config.node.data_dir.take());
        config.listen.http = overrides.http.unwrap_or(config.listen.http);
        config.listen.grpc = overrides.grpc.unwrap_or(config.listen.grpc);
        config.telemetry.otlp_endpoint = overrides.otlp_endpoint.or(config.telemetry.otlp_endpoint.take());
        if let Some(url) = overrides.nats_url {
            let named = Nats::at(url);
            let nats = config.nats.get_or_insert_with(|| named.clone());
            nats.move_to(named);
        }
        let Some(path) = overrides.mcp_json else { return Ok(Vec::new()) };
        let mut imported = crate::import::read(&path)?;
        for server in imported.servers {
            match config.servers.entry(server.id) {
                Entry::Vacant(free) => {
                    free.insert(server.table);
                }
                Entry::Occupied(taken) => {
                    let text = format!("server \"{}\": the configuration already has it, and goes first", taken.key());
                    imported.warnings.push(text);
                }
            }
        }
        Ok(imported.warnings)
    }
}

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file of another host.
    #[error(transparent)]
    Import(#[from] crate::import::ImportError),
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(fail)?.len();
    if size > MAX_FILE_BYTES {
        let text = format!("{size} bytes are above the limit of {MAX_FILE_BYTES}");
        return Err(fail(std::io::Error::other(text)));
    }
    fs::read_to_string(path).map_err(fail)
}

/// Reads a configuration without resolving variables or checking it. `file` is what errors call it.
pub(crate) fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error| syntax(text, file, &error))
}

fn syntax(text: &str, file: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let message = error.message();
    let (what, suggestion) = match unknown_key(message) {
        None => (message.replace('`', "\""), None),
        Some((key, known)) => {
            let nearest = crate::suggest::nearest(&key, known.iter().map(String::as_str)).map(str::to_owned);
            let listed = if nearest.is_some() { String::new() } else { format!("; known are {}", known.join(", ")) };
            (format!("unknown key \"{key}\"{listed}"), nearest)
        }
    };
    ConfigError::Syntax { file: file.to_owned(), line, column, what, suggestion }
}

/// serde's text for an unknown field is "unknown field `x`, expected one of `a`, `b`": the key, and those that are known.
fn unknown_key(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, expected) = rest.split_once('`')?;
    let known = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}
