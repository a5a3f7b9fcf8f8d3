//! Who calls.

use std::sync::Arc;

/// An authenticated caller. What it may do is decided by `policy`, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Its name in the configuration.
    pub name: Arc<str>,
}

impl Principal {
    /// The caller of a node without authentication.
    pub const ANONYMOUS: &'static str = "anonymous";
    /// The operator of this node, through the control API on a trusted channel.
    pub const OPERATOR: &'static str = "operator";

    /// A principal by name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into() }
    }

    /// The caller of a node without authentication.
    pub fn anonymous() -> Self {
        Self::new(Self::ANONYMOUS)
    }
}
