//! Where a call goes.

use std::{sync::Arc, time::Duration};

use crate::{ListKind, NodeId, ServerId};

/// What a call means, resolved from one immutable snapshot of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The server that answers.
    pub server: ServerId,
    /// What is called on it.
    pub object: Object,
    /// Where the server is attached.
    pub place: Place,
    /// Longest that the call may take on that server, where it has a limit of its own.
    pub call_timeout: Option<Duration>,
}

/// What is called on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A tool, prompt, resource or template.
    Entry {
        /// Which list it belongs to.
        kind: ListKind,
        /// The server's own name or URI.
        own_name: Arc<str>,
        /// `{server}__{name}` or `{server}+{uri}`, whatever the view calls it: what policy decides on.
        canonical: Arc<str>,
    },
    /// The server as a whole: a method that this broker does not know, in the view of a single server.
    Server,
}

/// Where a server is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To this node. The bus is not touched.
    Local,
    /// To other nodes only; any of them will do.
    Remote(Arc<[NodeId]>),
    /// Nowhere at the moment.
    Nowhere,
}

impl Route {
    /// The server's own name of the object.
    pub fn own_name(&self) -> Option<&Arc<str>> {
        match &self.object {
            Object::Entry { own_name, .. } => Some(own_name),
            Object::Server => None,
        }
    }
}
