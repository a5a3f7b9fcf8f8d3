//! How a node uses its connection to NATS.

use std::{fmt, time::Duration};

use spanwire_model::{Error, ErrorKind, NodeId, Result, Tenant};

/// The connection, and the limits of what goes over it. [`Config::new`] has the defaults.
#[derive(Clone)]
pub struct Config {
    /// How to connect, and as whom.
    pub connection: spanwire_nats::Config,
    /// How long a handler may be silent before the node that runs it says that it is alive.
    pub keep_alive: Duration,
    /// Silence after which a reply is lost; more than one keep-alive.
    pub lost_after: Duration,
    /// Frames of one reply on the way before the caller has to take some; from 2.
    pub window_frames: usize,
    /// Bytes of one request or reply on the way; less when many replies are. Frames above half of it go in parts.
    pub window_bytes: usize,
    /// Largest request or frame, in bytes. What is above the server's `max_payload` goes in parts.
    pub max_message_bytes: usize,
    /// Requests that this node handles at once; above that callers are told to try elsewhere.
    pub max_handling: usize,
}

impl Config {
    /// The defaults for a node of a tenant.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>, tenant: Tenant, node: NodeId) -> Self {
        Self::over(spanwire_nats::Config::new(urls, tenant, node))
    }

    /// The defaults over a connection.
    pub fn over(connection: spanwire_nats::Config) -> Self {
        Self {
            connection,
            keep_alive: Duration::from_secs(2),
            lost_after: Duration::from_secs(6),
            window_frames: crate::WINDOW_FRAMES,
            window_bytes: 1 << 20,
            max_message_bytes: crate::MAX_MESSAGE_BYTES,
            max_handling: 4096,
        }
    }

    /// This node.
    pub(super) fn node(&self) -> &NodeId {
        &self.connection.node
    }

    /// Says what makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        if self.keep_alive.is_zero() || self.lost_after <= self.keep_alive {
            let text = "nats configuration: lost_after is not longer than keep_alive";
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("connection", &self.connection)
            .field("keep_alive", &self.keep_alive)
            .field("lost_after", &self.lost_after)
            .finish_non_exhaustive()
    }
}
