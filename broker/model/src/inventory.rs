//! Everything that every known server offers, at one moment.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use spanwire_mcp::{Json, Method};

use crate::{Health, NodeId, Placement, ServerFacts, ServerId};

/// The four lists of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

impl ListKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The method that lists the kind.
    pub fn method(self) -> Method {
        match self {
            Self::Tools => Method::ToolsList,
            Self::Prompts => Method::PromptsList,
            Self::Resources => Method::ResourcesList,
            Self::Templates => Method::ResourceTemplatesList,
        }
    }

    /// The member of the result that holds the entries.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an entry that names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The capability that a server declares for the kind.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }
}

/// One entry of a list, as the server sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingEntry {
    /// The server's own name or URI: the value of [`ListKind::key`].
    pub name: Arc<str>,
    /// The whole entry, byte for byte.
    pub json: Json,
}

/// Everything one server lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Tools in the server's order.
    pub tools: Vec<ListingEntry>,
    /// Prompts in the server's order.
    pub prompts: Vec<ListingEntry>,
    /// Resources in the server's order.
    pub resources: Vec<ListingEntry>,
    /// Resource templates in the server's order.
    pub templates: Vec<ListingEntry>,
    /// How long the lists may be cached: the smallest that the server gave.
    pub ttl_ms: u64,
    /// True when the server called any of them private.
    pub private: bool,
}

impl Listing {
    /// The entries of a kind.
    pub fn of(&self, kind: ListKind) -> &Vec<ListingEntry> {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
        }
    }

    /// True when nothing is listed.
    pub fn is_empty(&self) -> bool {
        ListKind::ALL.into_iter().all(|kind| self.of(kind).is_empty())
    }

    /// The entries of a kind, to be filled.
    pub fn of_mut(&mut self, kind: ListKind) -> &mut Vec<ListingEntry> {
        match kind {
            ListKind::Tools => &mut self.tools,
            ListKind::Prompts => &mut self.prompts,
            ListKind::Resources => &mut self.resources,
            ListKind::Templates => &mut self.templates,
        }
    }
}

/// One server on one node.
#[derive(Debug, Clone)]
pub struct ServerEntry {
    /// Its id. The same id on two nodes means two replicas of one server.
    pub id: ServerId,
    /// The node that it is attached to.
    pub node: NodeId,
    /// True when that is this node.
    pub local: bool,
    /// How it is reached, in a few words without secrets: `stdio`, `http`.
    pub transport: Arc<str>,
    /// What it said of itself; `None` until it was connected once.
    pub facts: Option<Arc<ServerFacts>>,
    /// What it lists; the last known listing when it is down.
    pub listing: Arc<Listing>,
    /// How it is.
    pub health: Health,
    /// Longest that one call may take, where the server has a limit of its own.
    pub call_timeout: Option<Duration>,
    /// Who said that it is to run there.
    pub source: Source,
    /// By which lease it runs there, with [`Placement::Any`](crate::Placement).
    pub placed: Option<Placed>,
    /// Calls that it had in flight and waiting when its node spoke last. For choosing between replicas; a hint.
    pub load: u32,
}

/// Who said that a server is to run on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The node's configuration file. It goes before the registry, on that node.
    #[default]
    Config,
    /// The registry: it was added at run time, on whatever node.
    Registry,
    /// It is a part of the broker.
    Builtin,
}

impl Source {
    /// The source in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Registry => "registry",
            Self::Builtin => "builtin",
        }
    }
}

/// The lease by which a replica runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Which of the replicas, from 0.
    pub replica: u16,
    /// The fencing token: of two that claim the same replica, the one with the larger token has it.
    pub token: u64,
}

/// A server that is to run somewhere, whether it does or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its id.
    pub id: ServerId,
    /// Who wants it.
    pub source: Source,
    /// On which nodes it may run.
    pub placement: Placement,
    /// How many nodes are to run it at a time.
    pub replicas: u16,
    /// The node that it is placed on, with [`Placement::Here`].
    pub home: Option<NodeId>,
    /// The principal that registered it; empty for the configuration.
    pub by: Arc<str>,
    /// The entry of the registry's log that wrote it; 0 for the configuration.
    pub version: u64,
    /// Why this node cannot run it, in one sentence.
    pub problem: Option<Arc<str>>,
}

/// A node, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// How it is.
    pub state: NodeState,
    /// The version of its program.
    pub version: Arc<str>,
    /// How long ago it was heard of; zero for this node.
    pub silent: Duration,
}

/// How a node is, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It answers.
    Alive,
    /// It takes nothing new: it is about to leave.
    Draining,
    /// It has stopped answering. Others are asked before it; soon it counts as gone, and its routes with it.
    Suspect,
}

impl NodeState {
    /// The state in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Draining => "draining",
            Self::Suspect => "suspect",
        }
    }
}

/// All servers known to this node, its own and its peers', ordered by id and then node. Immutable.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Counts up with every change.
    pub version: u64,
    /// The servers.
    pub servers: Vec<Arc<ServerEntry>>,
    /// Nodes that are not gone, this one included, ordered by id.
    pub nodes: Vec<NodeInfo>,
    /// Servers that are to run somewhere, as far as this node knows: those of the registry, and those that its own configuration places
    /// on any node. Ordered by id; of one id, the configuration first.
    pub wanted: Vec<Wanted>,
}
