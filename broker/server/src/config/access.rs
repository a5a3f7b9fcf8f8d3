//! The sections about who may call, and what is shown where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanwire_model::ServerId;

use super::{Grant, Secret};

/// Someone who may call. Patterns use `*` and `?` on exposed names, as in `git__*`; an empty list allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrincipalTable {
    /// Name, in logs, metrics and on the backbone: 1 to 64 of a-z, A-Z, 0-9, `_`, `.` and `-`.
    pub(crate) name: String,
    /// Bearer token. `${VAR}` is resolved. Exactly one of `token` and `token_sha256`.
    #[serde(default)]
    pub(crate) token: Option<Secret>,
    /// SHA-256 of the bearer token, 64 hex digits, so that the file holds no secret.
    #[serde(default)]
    pub(crate) token_sha256: Option<String>,
    /// Tools that it may see and call, by pattern on `SERVER__TOOL`.
    #[serde(default = "everything")]
    pub(crate) tools: Vec<String>,
    /// Prompts that it may see and get, by pattern on `SERVER__PROMPT`.
    #[serde(default = "everything")]
    pub(crate) prompts: Vec<String>,
    /// Resources that it may see and read, by pattern on `SERVER+URI`.
    #[serde(default = "everything")]
    pub(crate) resources: Vec<String>,
    /// What it may do in the shared context: `SPACE:VERB` or `SPACE/KEYS:VERB`, where `SPACE` and `KEYS` may end with `*`, and `VERB` is
    /// `read`, `append`, `write` (both too) or `admin` (may drop the space too). Where nothing fits, nothing is seen. Default: `*:write`.
    #[serde(default = "all_contexts")]
    pub(crate) contexts: Vec<String>,
    /// Views that it may use; empty allows all.
    #[serde(default)]
    pub(crate) views: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn all_contexts() -> Vec<String> {
    vec!["*:write".to_owned()]
}

impl PrincipalTable {
    /// What it may do in the shared context.
    pub(crate) fn grants(&self) -> Result<Vec<Grant>, String> {
        self.contexts.iter().map(|text| text.parse()).collect()
    }
}

/// A named selection of servers and tools at `/mcp/NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct View {
    /// Servers whose entries are shown; empty shows all.
    #[schemars(with = "Vec<String>")]
    pub(crate) servers: Vec<ServerId>,
    /// Tools that are shown, by pattern on `SERVER__TOOL`; empty shows all.
    pub(crate) tools: Vec<String>,
    /// Other names for tools: `"SERVER__TOOL" = "name"`.
    pub(crate) rename: BTreeMap<String, String>,
    /// Whether names begin with the server's id.
    pub(crate) prefix: Prefix,
}

/// Whether names begin with the server's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Prefix {
    /// `SERVER__TOOL`.
    #[default]
    Always,
    /// `TOOL`. Names that two servers share keep their prefix.
    Never,
}
