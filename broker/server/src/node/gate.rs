//! Who may come in at all.

use anyhow::bail;
use spanwire_http::server::Authenticate;
use spanwire_model::{Error, Principal};
use spanwire_router::Router;

use crate::config::Config;

/// Refuses to open a node to the network without authentication, unless told so.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    if config.principals.is_empty() && !config.is_loopback_only() && !config.listen.allow_unauthenticated_remote {
        bail!(
            "refusing to listen on {} and {} without authentication: add [[principals]], listen on 127.0.0.1, \
             or set listen.allow_unauthenticated_remote = true",
            config.listen.http,
            config.listen.grpc
        );
    }
    Ok(())
}

/// Bearer tokens, by the policy that is in force.
pub(super) struct Tokens(pub(super) Router);

impl Authenticate for Tokens {
    fn authenticate(&self, authorization: Option<&str>) -> Result<Principal, Error> {
        self.0.policy().authenticate(authorization)
    }
}
