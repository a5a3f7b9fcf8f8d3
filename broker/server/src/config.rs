//! The configuration of a node: TOML in, one checked value out.
//!
//! Flags win over `SPANWIRE_*` variables, those over the file, the file over the defaults. An unknown key is an error
//! with a suggestion. The JSON schema in `golden/config.schema.json` is made from these types, so the docs on each
//! field are the reference that a user reads.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spanwire_model::{InvalidId, NodeId, ServerId, Tenant};

mod access;
mod check;
mod error;
mod grant;
mod interpolate;
mod ledger;
mod load;
mod nats;
mod paths;
mod secret;
mod sections;
mod server;

#[allow(unused_imports, reason = "read by the composition root")]
pub(crate) use access::Prefix;
pub(crate) use access::{PrincipalTable, View};
pub(crate) use check::{ANY_NEEDS_JETSTREAM, CONTEXT_SERVER};
pub(crate) use error::{ConfigError, Problem};
pub(crate) use grant::{Grant, GrantVerb};
pub(crate) use interpolate::{Lookup, from_environment, interpolate};
pub(crate) use ledger::{ContextSection, Durability, Ledger, LedgerStore};
pub(crate) use load::{LoadError, Overrides, Source, parse};
pub(crate) use nats::Nats;
pub(crate) use paths::{TOKEN_FILE, default_config_path, default_data_dir, hostname_id};
pub(crate) use secret::Secret;
pub(crate) use sections::{Catalog, Limits, Listen, Telemetry};
#[allow(unused_imports, reason = "read by the composition root")]
pub(crate) use sections::{LogFormat, OtlpProtocol, StaleEntries};
pub(crate) use server::{Era, Place, ServerTable};

/// The configuration of one Spanwire node.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Spanwire configuration")]
pub(crate) struct Config {
    /// Who this node is and where it keeps its state.
    pub(crate) node: NodeSection,
    /// Where clients reach this node.
    pub(crate) listen: Listen,
    /// Bounds on sizes, counts and times.
    pub(crate) limits: Limits,
    /// The NATS backbone. Without this section the node stands alone.
    pub(crate) nats: Option<Nats>,
    /// The durable log behind the registry and the shared context.
    pub(crate) ledger: Ledger,
    /// The context that agents share.
    pub(crate) context: ContextSection,
    /// Traces and logs.
    pub(crate) telemetry: Telemetry,
    /// How the lists of many servers become one.
    pub(crate) catalog: Catalog,
    /// Who may call, and what. Without any principal everyone who reaches a loopback address may do everything.
    pub(crate) principals: Vec<PrincipalTable>,
    /// The MCP servers of this node, by id: 1 to 32 of a-z, 0-9 and -, beginning with a letter.
    #[schemars(with = "BTreeMap<String, ServerTable>")]
    pub(crate) servers: BTreeMap<ServerId, ServerTable>,
    /// Named selections of servers and tools, each at `/mcp/NAME`. Every server also has a view of its own name.
    pub(crate) views: BTreeMap<String, View>,
    /// Where all this came from, so that it can be read again.
    #[serde(skip)]
    pub(crate) source: Source,
}

/// Who this node is and where it keeps its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeSection {
    /// Id of this node, different from all others on the backbone: 1 to 64 of a-z, 0-9 and -, beginning with a letter.
    /// Default: made from the host name at the first start, and kept in the data folder.
    #[schemars(with = "Option<String>")]
    pub(crate) id: Option<NodeId>,
    /// The tenant that this node serves. Nodes of different tenants do not see each other. Default: `default`.
    #[schemars(with = "String")]
    pub(crate) tenant: Tenant,
    /// Folder for state, created if missing. Default: `$XDG_DATA_HOME/spanwire`, else `~/.local/share/spanwire`.
    pub(crate) data_dir: Option<PathBuf>,
}

impl Config {
    /// The id of this node: the configured one, else one made from the host name.
    pub(crate) fn node_id(&self) -> Result<NodeId, InvalidId> {
        self.node.id.clone().map_or_else(hostname_id, Ok)
    }

    /// The folder for state.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.node.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    /// True when the ledger, and with it the leases, are of this node alone.
    pub(crate) fn has_local_ledger(&self) -> bool {
        match self.ledger.store {
            LedgerStore::Local => true,
            LedgerStore::Auto | LedgerStore::Jetstream => self.nats.is_none(),
        }
    }

    /// True when there may be other nodes, and none of them sees the leases of this one.
    pub(crate) fn has_leases_apart(&self) -> bool {
        self.nats.is_some() && self.has_local_ledger()
    }

    /// True when both edges listen on loopback addresses only.
    pub(crate) fn is_loopback_only(&self) -> bool {
        self.listen.http.ip().is_loopback() && self.listen.grpc.ip().is_loopback()
    }

    /// The JSON schema of the configuration file, as text that ends with a newline.
    pub(crate) fn schema() -> String {
        let schema = schemars::schema_for!(Config);
        serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests;
