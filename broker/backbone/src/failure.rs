//! What goes wrong between nodes, in words. One place, so that both implementations say the same.

use std::fmt;

use spanwire_model::{Address, Error, ErrorKind, NodeId, ServerId};

/// An address in words.
#[derive(Debug, Clone)]
pub(crate) struct Whom {
    address: Address,
    node: Option<NodeId>,
}

impl Whom {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, node: None }
    }

    /// Whom a request is for: the server that it names, also where it is addressed to a node.
    pub(crate) fn of(address: &Address, server: Option<&ServerId>) -> Self {
        match (address, server) {
            (Address::Node(node), Some(server)) => {
                Self { address: Address::Server(server.clone()), node: Some(node.clone()) }
            }
            (Address::Node(_) | Address::Server(_), _) => Self::new(address.clone()),
        }
    }

    /// Remembers the node that took the request.
    pub(crate) fn taken_by(&mut self, node: NodeId) {
        self.node = Some(node);
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.node) {
            (Address::Server(server), Some(node)) => write!(f, "server \"{server}\" on node \"{node}\""),
            (Address::Server(server), None) => write!(f, "server \"{server}\""),
            (Address::Node(node), _) => write!(f, "node \"{node}\""),
        }
    }
}

pub(crate) fn nobody(whom: &Whom) -> Error {
    Error::new(ErrorKind::Unavailable, format!("no node serves {whom} at the moment"))
}

pub(crate) fn not_connected(whom: &Whom) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("request to {whom} not sent: this node is not connected to the backbone"),
    )
}

pub(crate) fn lost(whom: &Whom, why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::StreamLost, format!("reply from {whom} broke off: {why}"))
}

pub(crate) fn deadline(whom: &Whom) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("the call's budget was used up before {whom} answered"))
}

pub(crate) fn too_large(what: &str, size: usize, limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("{what} of {size} bytes is above the limit of {limit} bytes"))
}

pub(crate) fn no_end(whom: &Whom) -> Error {
    Error::new(ErrorKind::Internal, format!("handler of {whom} ended without a response"))
}

pub(crate) fn panicked(whom: &Whom) -> Error {
    Error::new(ErrorKind::Internal, format!("handler of {whom} panicked"))
}

pub(crate) fn closing(node: &NodeId) -> Error {
    Error::new(ErrorKind::StreamLost, format!("reply broke off: node \"{node}\" is shutting down"))
}

/// A request as its handler's side calls it.
pub(crate) fn here(server: Option<&ServerId>, node: &NodeId) -> Whom {
    match server {
        Some(server) => Whom { address: Address::Server(server.clone()), node: Some(node.clone()) },
        None => Whom::new(Address::Node(node.clone())),
    }
}
