//! Why a configuration cannot be used.

use std::{fmt, path::PathBuf};

/// One thing that is wrong with a configuration that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Path of the key, such as `servers.git.command`.
    pub(crate) key: String,
    /// What is wrong with it, and what would be right.
    pub(crate) what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// Why a configuration cannot be used. The text names file, line and column where they are known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{file}:{line}:{column}: {what}{}", hint(suggestion.as_ref()))]
    Syntax {
        /// The file as it is shown.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong.
        what: String,
        /// The known key nearest to an unknown one.
        suggestion: Option<String>,
    },
    /// `${VAR}` in a value cannot be resolved.
    #[error("{file}: {key}: {what}")]
    Variable {
        /// The file as it is shown.
        file: String,
        /// Path of the key.
        key: String,
        /// The variable, and what is wrong with it.
        what: super::interpolate::VariableError,
    },
    /// Well-formed, but it cannot work.
    #[error("{file}: {}", list(problems))]
    Invalid {
        /// The file as it is shown.
        file: String,
        /// All that is wrong, at least one.
        problems: Vec<Problem>,
    },
}

fn hint(suggestion: Option<&String>) -> String {
    suggestion.map(|key| format!("; did you mean \"{key}\"?")).unwrap_or_default()
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}
