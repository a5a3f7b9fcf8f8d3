//! Why a command did not do what was asked, and the exit code that says so.

use std::{fmt, io};

use tonic::{Code, Status};

/// Exit codes other than 0. The same table stands in `spanwire --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The reader of our output is gone: not an error of ours.
    ClosedPipe = 0,
    /// The operation failed: a tool's error, access denied, a bad configuration.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No node answers.
    Unreachable = 3,
    /// No such server, agent, tool, trace or key.
    NotFound = 4,
    /// Time ran out.
    Deadline = 5,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which exit code.
    pub(crate) exit: Exit,
    /// One sentence, lower case: what, and on what.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), hint: None }
    }

    /// The operation failed.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Exit::Failed, text)
    }

    /// The command line is wrong.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::ClosedPipe } else { Exit::Failed };
        Self::new(exit, error.to_string())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let kind = status.metadata().get(spanwire_rpc::ERROR_KIND_METADATA).and_then(|value| value.to_str().ok());
        let exit = match (status.code(), kind) {
            (Code::NotFound, _) | (_, Some("not_found")) => Exit::NotFound,
            (Code::Unavailable, _) => Exit::Unreachable,
            (Code::DeadlineExceeded, _) => Exit::Deadline,
            _ => Exit::Failed,
        };
        // The transport's own text is about sockets and streams; what a user needs is that the node is gone.
        let known = kind.is_some();
        let lost = exit == Exit::Unreachable && !known;
        let text = if lost { "the connection to the node was lost".to_owned() } else { status.message().to_owned() };
        let failure = Self::new(exit, text);
        match status.code() {
            Code::Unauthenticated => failure.with_hint(
                "give the operator's token with --token or SPANWIRE_TOKEN, or name the data folder's --config",
            ),
            // The node itself gives a kind: then it knows the method, and says why not.
            Code::Unimplemented if !known => failure.with_hint("the node is of another version than this program"),
            _ => failure,
        }
    }
}

impl From<crate::config::LoadError> for Failure {
    fn from(error: crate::config::LoadError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<crate::import::ImportError> for Failure {
    fn from(error: crate::import::ImportError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<crate::import::IntoError> for Failure {
    fn from(error: crate::import::IntoError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}
