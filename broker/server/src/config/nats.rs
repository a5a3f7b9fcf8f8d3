//! How nodes reach each other.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problem, Secret};

/// Shortest secret that can seal, in characters.
const MIN_SEAL_SECRET: usize = 32;

/// NATS between nodes: calls and events, and with JetStream the ledger and the leases. Server 2.11 or later. One form of credentials at most:
/// `credentials_file`, `nkey_seed_file`, `user` and `password`, `token`, or a certificate (`tls_cert`), which also goes with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nats {
    /// Address, or several separated by commas: `nats://host:4222`, `tls://host:4222`. `${VAR}` is resolved.
    pub(crate) url: String,
    /// First tokens of every subject. The same on all nodes.
    #[serde(default = "default_prefix")]
    pub(crate) prefix: String,
    /// A `.creds` file with a user JWT and its key.
    #[serde(default)]
    pub(crate) credentials_file: Option<PathBuf>,
    /// A file with the seed of an nkey user, a line that begins with `SU`.
    #[serde(default)]
    pub(crate) nkey_seed_file: Option<PathBuf>,
    /// User name, together with `password`. `${VAR}` is resolved.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// Password of `user`. `${VAR}` is resolved.
    #[serde(default)]
    pub(crate) password: Option<Secret>,
    /// A token instead of user and password. `${VAR}` is resolved.
    #[serde(default)]
    pub(crate) token: Option<Secret>,
    /// Never go on without TLS. The same follows from `tls_ca`, `tls_cert` and an address that begins with `tls://`. TLS is version 1.3.
    #[serde(default)]
    pub(crate) tls_required: bool,
    /// A PEM file with the certificate authorities that are trusted, instead of the system's.
    #[serde(default)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A PEM file with the certificate of this node, together with `tls_key`. It may be renewed while the node runs.
    #[serde(default)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// A PEM file with the key of `tls_cert`.
    #[serde(default)]
    pub(crate) tls_key: Option<PathBuf>,
    /// The JetStream domain in which the ledger and the leases are: for a node whose own NATS server is a leaf node of another domain.
    /// Default: that of the server.
    #[serde(default)]
    pub(crate) jetstream_domain: Option<String>,
    /// Seals what clients keep for servers: request states and task ids. With the same secret on all nodes any of them can
    /// go on when the node that sealed it is gone. At least 32 characters; `${VAR}` is resolved. Default: each node makes its own.
    #[serde(default)]
    pub(crate) seal_secret: Option<Secret>,
}

fn default_prefix() -> String {
    "sw.v1".to_owned()
}

impl Nats {
    /// The backbone at an address, without credentials but those in the address.
    pub(crate) fn at(url: impl Into<String>) -> Self {
        let mut nats = Self {
            url: url.into(),
            prefix: default_prefix(),
            credentials_file: None,
            nkey_seed_file: None,
            user: None,
            password: None,
            token: None,
            tls_required: false,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            jetstream_domain: None,
            seal_secret: None,
        };
        nats.take_credentials_from_url();
        nats
    }

    /// Another address. Credentials in it go before all that there were.
    pub(super) fn move_to(&mut self, named: Self) {
        self.url = named.url;
        if named.user.is_some() || named.token.is_some() {
            (self.credentials_file, self.nkey_seed_file) = (None, None);
            (self.user, self.password, self.token) = (named.user, named.password, named.token);
        }
    }

    /// Moves `user:password@` or `token@` out of the address, so that the address can be shown. Fields that are set stay.
    pub(super) fn take_credentials_from_url(&mut self) {
        let mut bare = Vec::new();
        for address in self.url.split(',').map(str::trim) {
            let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
            let (credentials, host) =
                rest.rsplit_once('@').map_or((None, rest), |(credentials, host)| (Some(credentials), host));
            match credentials.map(|text| text.split_once(':').ok_or(text)) {
                None => {}
                Some(Ok((user, password))) => {
                    self.user.get_or_insert_with(|| user.to_owned());
                    self.password.get_or_insert_with(|| Secret::new(password));
                }
                Some(Err(token)) => {
                    self.token.get_or_insert_with(|| Secret::new(token));
                }
            }
            bare.push(if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") });
        }
        self.url = bare.join(",");
    }

    /// Everything that cannot work: key and what is wrong.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut add = |key: &str, what: String| found.push(Problem { key: format!("nats.{key}"), what });
        if self.url.trim().is_empty() {
            add("url", "is empty".into());
        }
        for (here, other, missing) in [
            ("user", "nats.password", self.user.is_some() && self.password.is_none()),
            ("password", "nats.user", self.password.is_some() && self.user.is_none()),
            ("tls_cert", "nats.tls_key", self.tls_cert.is_some() && self.tls_key.is_none()),
            ("tls_key", "nats.tls_cert", self.tls_key.is_some() && self.tls_cert.is_none()),
        ] {
            if missing {
                add(here, format!("needs {other} beside it"));
            }
        }
        let forms = [
            ("credentials_file", self.credentials_file.is_some()),
            ("nkey_seed_file", self.nkey_seed_file.is_some()),
            ("user", self.user.is_some()),
            ("token", self.token.is_some()),
        ];
        let mut given = forms.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            add(second, format!("there is also nats.{first}: keep one of them"));
        }
        let seal = self.seal_secret.as_ref().map(|secret| secret.expose().len());
        if let Some(length) = seal.filter(|length| *length < MIN_SEAL_SECRET) {
            add("seal_secret", format!("has {length} characters: use at least {MIN_SEAL_SECRET} random ones"));
        }
        if !self.prefix.split('.').all(is_token) {
            add("prefix", "must be tokens of A-Z, a-z, 0-9, _ and -, separated by dots".into());
        }
        if !self.jetstream_domain.as_deref().is_none_or(is_token) {
            add("jetstream_domain", "must be of A-Z, a-z, 0-9, _ and -".into());
        }
        found
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
