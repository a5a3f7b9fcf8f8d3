//! A server: how it is reached, what it said of itself, how it is.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use spanwire_mcp::{Era, Json, Revision};

use crate::ServerId;

/// How to reach a server. Values may hold `${VAR}` until they are resolved; a resolved spec may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// Its id on this node.
    pub id: ServerId,
    /// Where it is.
    pub target: Target,
    /// Which era to speak to it.
    #[serde(default)]
    pub era: EraChoice,
    /// How many calls it may have in flight; further ones wait. `None` leaves it to the node's default.
    #[serde(default)]
    pub max_in_flight: Option<usize>,
    /// Longest that one call may take.
    #[serde(default)]
    pub call_timeout_ms: Option<u64>,
    /// On which nodes it may run.
    #[serde(default)]
    pub placement: Placement,
    /// How many nodes run it at a time, with [`Placement::Any`]. At least 1.
    #[serde(default = "one")]
    pub replicas: u16,
}

const fn one() -> u16 {
    1
}

/// On which nodes a server may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// On the node that it was given to, only.
    #[default]
    Here,
    /// On any node: on as many at a time as it has replicas, each by a lease. Started again on another one when its node is gone.
    Any,
}

impl Placement {
    /// The name as it stands in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Any => "any",
        }
    }
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A child process of this node.
    Stdio(StdioTarget),
    /// A Streamable HTTP endpoint.
    Http(HttpTarget),
    /// A part of this program, by its name. Never stored, and in nobody's configuration.
    #[serde(skip)]
    Builtin(Arc<str>),
}

/// A child process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdioTarget {
    /// The program.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables set for it, on top of the few that every child gets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of variables that it inherits from the node.
    #[serde(default)]
    pub inherit_env: Vec<String>,
    /// Its working folder.
    #[serde(default)]
    pub cwd: Option<String>,
}

/// An HTTP endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTarget {
    /// The MCP endpoint.
    pub url: String,
    /// Headers sent with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Which era to speak to a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EraChoice {
    /// Probe, modern first.
    #[default]
    Auto,
    /// 2026-07-28 and later only.
    Modern,
    /// The handshake only.
    Legacy,
}

impl EraChoice {
    /// The name as it stands in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }
}

/// What a server said of itself when it was connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// The revision that is spoken with it.
    pub revision: Revision,
    /// `serverInfo`, as it came.
    pub info: Json,
    /// `capabilities`, as they came.
    pub capabilities: Json,
    /// `instructions`.
    pub instructions: Option<String>,
}

impl ServerFacts {
    /// The era of its revision.
    pub fn era(&self) -> Era {
        self.revision.era()
    }

    /// True when the server declared a capability of this name.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }
}

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// Being started and listed for the first time.
    Starting,
    /// Connected and listed.
    Ready,
    /// Connected, but a part of its listing failed or was cut; see the detail.
    Degraded,
    /// Not connected; another attempt follows.
    Down,
    /// Asked to stop.
    Stopped,
}

impl ServerState {
    /// True when calls can be sent to it.
    pub fn is_callable(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// The state in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

/// The state of a server with what an operator wants to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub state: ServerState,
    /// Why, in one sentence: the last error, or what of its listing was dropped.
    pub detail: Option<Arc<str>>,
    /// How often it was started again.
    pub restarts: u32,
}
