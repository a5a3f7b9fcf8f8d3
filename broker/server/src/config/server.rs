//! One MCP server in the configuration.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanwire_model::{EraChoice, HttpTarget, Placement, ServerId, ServerSpec, StdioTarget, Target};

use super::Secret;

/// An MCP server: either `command` (a child process) or `url` (an HTTP endpoint, Streamable HTTP or HTTP+SSE). `${VAR}` and
/// `${VAR:-default}` are resolved in every text of the table; `$${` is a plain `${`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTable {
    /// Program to start, looked up on `PATH`.
    pub(crate) command: Option<String>,
    /// Arguments of the program.
    pub(crate) args: Vec<String>,
    /// Variables set for the program, on top of the few that every child gets (`PATH`, `HOME`, `LANG` and the like).
    pub(crate) env: BTreeMap<String, Secret>,
    /// Names of variables that the program inherits from the node.
    pub(crate) inherit_env: Vec<String>,
    /// Working folder of the program. Default: the node's.
    pub(crate) cwd: Option<String>,
    /// MCP endpoint, `http://…` or `https://…`.
    pub(crate) url: Option<String>,
    /// Headers sent with each request to `url`.
    pub(crate) headers: BTreeMap<String, Secret>,
    /// Which protocol era is spoken to it.
    pub(crate) era: Era,
    /// Calls that it may have in flight; further ones wait. Default: `limits.max_in_flight_per_server`.
    #[schemars(range(min = 1))]
    pub(crate) max_in_flight: Option<usize>,
    /// Longest that one call may take, in milliseconds, where that is less than `limits.call_timeout_ms`.
    #[schemars(range(min = 1))]
    pub(crate) call_timeout_ms: Option<u64>,
    /// On which nodes it may run: only on the one whose file this is, or on any of those whose files name it, by a lease.
    pub(crate) placement: Place,
    /// How many nodes run it at a time, with `placement = "any"`. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) replicas: Option<u16>,
    /// `false` keeps the server in the file without starting it.
    pub(crate) enabled: bool,
}

impl Default for ServerTable {
    fn default() -> Self {
        Self {
            command: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            inherit_env: Vec::new(),
            cwd: None,
            url: None,
            headers: BTreeMap::new(),
            era: Era::Auto,
            max_in_flight: None,
            call_timeout_ms: None,
            placement: Place::Here,
            replicas: None,
            enabled: true,
        }
    }
}

/// Which protocol eras are spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Era {
    /// Whichever the other side speaks, the newest first.
    #[default]
    Auto,
    /// 2026-07-28 and later only.
    Modern,
    /// 2025-11-25 and earlier only.
    Legacy,
}

impl Era {
    /// The name as it stands in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Modern => "modern",
            Self::Legacy => "legacy",
        }
    }
}

impl From<Era> for EraChoice {
    fn from(era: Era) -> Self {
        match era {
            Era::Auto => Self::Auto,
            Era::Modern => Self::Modern,
            Era::Legacy => Self::Legacy,
        }
    }
}

/// On which nodes a server may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// On one node.
    #[default]
    Here,
    /// On any node: on as many at a time as it has replicas, and on another one when one of them is gone.
    Any,
}

impl From<Place> for Placement {
    fn from(place: Place) -> Self {
        match place {
            Place::Here => Self::Here,
            Place::Any => Self::Any,
        }
    }
}

fn exposed(map: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect()
}

impl ServerTable {
    /// Where the server is, or why the table does not say so.
    pub(crate) fn target(&self) -> Result<Target, &'static str> {
        match (&self.command, &self.url) {
            (Some(_), Some(_)) => Err("has both \"command\" and \"url\": keep one"),
            (None, None) => Err("needs \"command\" or \"url\""),
            (Some(command), None) if command.trim().is_empty() => Err("has an empty \"command\""),
            (Some(_), None) if !self.headers.is_empty() => Err("has \"headers\", which belong to \"url\""),
            (None, Some(_)) if !self.args.is_empty() => Err("has \"args\", which belong to \"command\""),
            (None, Some(_)) if !self.env.is_empty() => Err("has \"env\", which belongs to \"command\""),
            (None, Some(_)) if !self.inherit_env.is_empty() => Err("has \"inherit_env\", which belongs to \"command\""),
            (None, Some(_)) if self.cwd.is_some() => Err("has \"cwd\", which belongs to \"command\""),
            (None, Some(url)) if !is_http(url) => Err("has a \"url\" that does not begin with http:// or https://"),
            (None, Some(url)) => Ok(Target::Http(HttpTarget { url: url.clone(), headers: exposed(&self.headers) })),
            (Some(command), None) => Ok(Target::Stdio(StdioTarget {
                command: command.clone(),
                args: self.args.clone(),
                env: exposed(&self.env),
                inherit_env: self.inherit_env.clone(),
                cwd: self.cwd.clone(),
            })),
        }
    }

    /// The server as the registry takes it, or why the table is not one.
    pub(crate) fn to_spec(&self, id: &ServerId) -> Result<ServerSpec, &'static str> {
        Ok(ServerSpec {
            id: id.clone(),
            target: self.target()?,
            era: self.era.into(),
            max_in_flight: self.max_in_flight,
            call_timeout_ms: self.call_timeout_ms,
            placement: self.placement.into(),
            replicas: self.checked_replicas()?,
        })
    }

    fn checked_replicas(&self) -> Result<u16, &'static str> {
        match (self.placement, self.replicas) {
            (_, None) => Ok(1),
            (Place::Here, Some(_)) => Err("has \"replicas\", which need the placement \"any\""),
            (Place::Any, Some(replicas)) if (1..=spanwire_registry::MAX_REPLICAS).contains(&replicas) => Ok(replicas),
            (Place::Any, Some(_)) => Err("has too many or too few \"replicas\": 1 to 64"),
        }
    }

    /// How it is reached in one line, without variables, headers or credentials in the URL.
    pub(crate) fn describe(&self) -> String {
        match (&self.command, &self.url) {
            (Some(command), _) => {
                std::iter::once(command).chain(&self.args).map(String::as_str).collect::<Vec<_>>().join(" ")
            }
            (None, Some(url)) => match (url.split_once("://"), url.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
                _ => url.clone(),
            },
            (None, None) => "?".to_owned(),
        }
    }
}

fn is_http(url: &str) -> bool {
    // A URL that still holds a variable is checked again once it is resolved.
    url.starts_with("http://") || url.starts_with("https://") || url.starts_with("${")
}
