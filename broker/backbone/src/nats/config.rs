//! How a node connects to NATS.

use std::{fmt, path::PathBuf, time::Duration};

use spanwire_model::{NodeId, Tenant};

/// How to connect, and the limits of what goes over the connection. [`Config::new`] has the defaults.
#[derive(Clone)]
pub struct Config {
    /// Addresses of servers of one cluster: `nats://host:port` or `tls://host:port`. A user and password in one of them
    /// are used for all.
    pub urls: Vec<String>,
    /// The tenant: nodes of others are not seen.
    pub tenant: Tenant,
    /// This node. No two nodes of a tenant may have the same name.
    pub node: NodeId,
    /// The first tokens of every subject; at least one, of `A-Za-z0-9_-`, separated by dots.
    pub prefix: String,
    /// How to prove who this node is.
    pub credentials: Credentials,
    /// TLS beyond what `tls://` asks for.
    pub tls: Tls,
    /// How long [`Nats::connect`](super::Nats::connect) tries before it gives up.
    pub connect_timeout: Duration,
    /// Return before there is a connection, and keep trying.
    pub connect_in_background: bool,
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

/// How a node proves who it is. `Debug` tells the form only.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing is asked for, or the address has it.
    #[default]
    None,
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A credentials file with a JWT and an nkey seed.
    File(PathBuf),
}

/// TLS of the connection.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Refuse a connection without TLS.
    pub required: bool,
    /// PEM file of certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the certificate and of the key of this node.
    pub client_files: Option<(PathBuf, PathBuf)>,
}

impl Config {
    /// The defaults for a node of a tenant.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>, tenant: Tenant, node: NodeId) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            tenant,
            node,
            prefix: "sw.v1".into(),
            credentials: Credentials::None,
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(10),
            connect_in_background: false,
            keep_alive: Duration::from_secs(2),
            lost_after: Duration::from_secs(6),
            window_frames: crate::WINDOW_FRAMES,
            window_bytes: 1 << 20,
            max_message_bytes: crate::MAX_MESSAGE_BYTES,
            max_handling: 4096,
        }
    }

    /// The addresses without what could be secret in them.
    pub(super) fn addresses(&self) -> String {
        let addresses: Vec<String> = self.urls.iter().map(|url| without_secrets(url)).collect();
        addresses.join(", ")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("urls", &self.addresses())
            .field("tenant", &self.tenant)
            .field("node", &self.node)
            .field("prefix", &self.prefix)
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .field("keep_alive", &self.keep_alive)
            .field("lost_after", &self.lost_after)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Token(_) => "Token",
            Self::File(_) => "File",
        })
    }
}

/// Scheme, host and port of an address, whatever else is in it.
fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password may contain an @ that was not escaped: the host is after the last one in the whole rest.
    let host = if rest.contains('@') { rest.rsplit('@').next().unwrap_or_default() } else { authority };
    format!("{scheme}://{}", host.split(['/', '?', '#']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_have_no_secrets() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("localhost", "nats://localhost"),
            ("tls://anna:s3cret@host:4222/x", "tls://host:4222"),
            ("nats://token@[::1]:4222", "nats://[::1]:4222"),
            ("nats://anna:s3/cr@et@host", "nats://host"),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
        let mut config = Config::new(["nats://u:s3cret@h"], Tenant::default(), "a".parse().unwrap());
        config.credentials = Credentials::Token("s3cret".into());
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
