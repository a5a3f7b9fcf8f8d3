//! How the parts of a cluster reach each other, and what is done to the lines between them.
//!
//! Where it is allowed each part has a network namespace of its own, and a line is broken by packets that are dropped, those of established
//! connections too. Elsewhere all are on loopback, and every line is a TCP proxy.

mod apart;
mod spaces;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use anyhow::Result;

pub use self::apart::{is_apart, run_apart};
use self::spaces::Spaces;
use crate::{
    nats::{Passage, Proxy},
    node::Place,
};

/// How a cluster is connected. Clones are the same network.
#[derive(Clone)]
pub enum Net {
    /// Proxies on loopback.
    Proxies,
    /// Namespaces around that of this process, which must be [apart](run_apart).
    Spaces(Arc<Spaces>),
}

impl Net {
    /// Namespaces when this process is apart from the machine, otherwise proxies.
    pub fn new() -> Result<Self> {
        Ok(match is_apart() {
            true => Self::Spaces(Arc::new(Spaces::new()?)),
            false => Self::Proxies,
        })
    }

    /// Where one part of the cluster is to run.
    pub fn place(&self) -> Result<Place> {
        match self {
            Self::Proxies => Ok(Place::default()),
            Self::Spaces(spaces) => spaces.add(),
        }
    }

    /// A line by which the part at `from` connects to an address of another.
    pub async fn line(&self, from: IpAddr, to: SocketAddr) -> Result<Line> {
        Ok(match self {
            Self::Proxies => Line::Proxy(Proxy::start(to).await?),
            Self::Spaces(spaces) => Line::Packets { spaces: spaces.clone(), from, to },
        })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxies => "TCP proxies",
            Self::Spaces(_) => "network namespaces",
        })
    }
}

/// The way from one part of the cluster to another, and back.
pub enum Line {
    /// Each connection goes through a proxy.
    Proxy(Proxy),
    /// Each packet is forwarded, unless there is a rule that says otherwise.
    Packets {
        /// Who forwards.
        spaces: Arc<Spaces>,
        /// Who connects.
        from: IpAddr,
        /// To whom.
        to: SocketAddr,
    },
}

impl Line {
    /// Where to connect to, to use it.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Proxy(proxy) => proxy.address(),
            Self::Packets { to, .. } => *to,
        }
    }

    /// Changes what passes.
    pub fn set(&self, passage: Passage) -> Result<()> {
        match self {
            Self::Proxy(proxy) => {
                proxy.set(passage);
                Ok(())
            }
            Self::Packets { spaces, from, to } => spaces.set(*from, to.ip(), passage),
        }
    }
}

#[cfg(test)]
mod tests;
