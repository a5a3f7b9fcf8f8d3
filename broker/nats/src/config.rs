//! How a node reaches NATS.

use std::{fmt, path::PathBuf, time::Duration};

use spanwire_model::{Error, ErrorKind, NodeId, Result, Tenant};

/// How to connect, and under which name. [`Config::new`] has the defaults.
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
    /// The domain of the JetStream to use, of `A-Za-z0-9_-`: that of the hub, for a node at a leaf node. Default: that of the server.
    pub jetstream_domain: Option<String>,
    /// How long [`connect`](super::connect) tries before it gives up.
    pub connect_timeout: Duration,
    /// Return before there is a connection, and keep trying.
    pub connect_in_background: bool,
}

/// How a node proves who it is. `Debug` tells the form only.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing is asked for, the address has it, or the certificate of TLS is it.
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
    /// A file with the seed of an nkey user (`SU…`).
    NkeySeedFile(PathBuf),
}

/// TLS of the connection. It is 1.3 always: every server that is new enough speaks it.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Refuse a connection without TLS. So do the other two, and `tls://`.
    pub required: bool,
    /// PEM file of the certificate authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the certificate (with those between it and its authority) and of the key of this node.
    pub client_files: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// True when a connection without TLS is refused: whoever names an authority or a certificate wants them used.
    pub(super) fn is_required(&self) -> bool {
        self.required || self.ca_file.is_some() || self.client_files.is_some()
    }
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
            jetstream_domain: None,
            connect_timeout: Duration::from_secs(10),
            connect_in_background: false,
        }
    }

    /// `{prefix}.{tenant}`: what every subject of the tenant begins with.
    pub fn base(&self) -> String {
        format!("{}.{}", self.prefix, self.tenant)
    }

    /// What the inboxes of the client begin with: answers to requests, and what consumers deliver.
    pub fn inbox_prefix(&self) -> String {
        format!("{}.js.{}", self.base(), self.node)
    }

    /// The addresses without what could be secret in them.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.urls.iter().map(|url| without_secrets(url)).collect();
        addresses.join(", ")
    }

    /// Says what makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let plain = |token: &str| {
            !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        let wrong = if self.urls.is_empty() {
            "no address is given"
        } else if !self.prefix.split('.').all(plain) {
            "the prefix is not tokens of A-Za-z0-9_- separated by dots"
        } else if !self.jetstream_domain.as_deref().is_none_or(plain) {
            "the jetstream domain is not of A-Za-z0-9_-"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidParams, format!("nats configuration: {wrong}")))
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
            .field("jetstream_domain", &self.jetstream_domain)
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
            Self::NkeySeedFile(_) => "NkeySeedFile",
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

    #[test]
    fn nonsense_is_refused() {
        let good = Config::new(["h"], Tenant::default(), "a".parse().unwrap());
        assert!(good.check().is_ok());
        for bad in [
            Config { urls: Vec::new(), ..good.clone() },
            Config { prefix: "a..b".into(), ..good.clone() },
            Config { prefix: "a.>".into(), ..good.clone() },
            Config { jetstream_domain: Some("a.b".into()), ..good.clone() },
        ] {
            assert_eq!(bad.check().unwrap_err().kind, ErrorKind::InvalidParams, "{bad:?}");
        }
    }
}
