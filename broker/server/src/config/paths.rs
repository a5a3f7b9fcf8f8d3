//! Where files are by default, and what this machine is called.

use std::{
    env,
    path::{Path, PathBuf},
};

use spanwire_model::{InvalidId, NodeId};

/// The file in the data folder that holds the operator's token.
pub(crate) const TOKEN_FILE: &str = "operator.token";

const LOCAL_CONFIG: &str = "spanwire.toml";

/// `$XDG_DATA_HOME/spanwire`, else `~/.local/share/spanwire`, else `.spanwire` here.
pub(crate) fn default_data_dir() -> PathBuf {
    base("XDG_DATA_HOME", ".local/share").map_or_else(|| PathBuf::from(".spanwire"), |base| base.join("spanwire"))
}

/// The file that is read when none is named: `spanwire.toml` here, else `$XDG_CONFIG_HOME/spanwire/config.toml`.
/// `None` when neither exists.
pub(crate) fn default_config_path() -> Option<PathBuf> {
    let own = base("XDG_CONFIG_HOME", ".config").map(|base| base.join("spanwire/config.toml"));
    [Some(PathBuf::from(LOCAL_CONFIG)), own].into_iter().flatten().find(|path| path.is_file())
}

/// The XDG specification ignores relative paths in its variables.
fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |value: std::ffi::OsString| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    env::var_os(variable)
        .and_then(absolute)
        .or_else(|| env::var_os("HOME").and_then(absolute).map(|home| home.join(Path::new(below_home))))
}

/// The node id nearest to this machine's host name; `node` when nothing is left of it.
///
/// # Errors
/// None in practice: the rule of ids allows `node`.
pub(crate) fn hostname_id() -> Result<NodeId, InvalidId> {
    node_id_from(&rustix::system::uname().nodename().to_string_lossy())
}

/// The node id nearest to a free-form name. The first label of a domain name is enough.
pub(super) fn node_id_from(name: &str) -> Result<NodeId, InvalidId> {
    let label = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let dashed: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(59).collect();
    let dashed = dashed.trim_matches('-');
    // Host names such as container ids begin with a digit, which an id must not.
    let prefix = if dashed.starts_with(|c: char| c.is_ascii_digit()) { "node-" } else { "" };
    format!("{prefix}{dashed}").parse().or_else(|_| "node".parse())
}
