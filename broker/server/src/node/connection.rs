//! How this node reaches NATS, from the section of its configuration. One for all the connections that it opens.

use spanwire_model::{NodeId, Tenant};
use spanwire_nats::{Config, Credentials, Tls};

use crate::config::{Nats, Secret};

/// The connections are made in the background: a node starts without NATS, too.
pub(super) fn settings(section: &Nats, tenant: Tenant, node: &NodeId) -> Config {
    let urls = section.url.split(',').map(str::trim);
    Config {
        prefix: section.prefix.clone(),
        credentials: credentials(section),
        tls: Tls { ca_file: section.tls_ca.clone(), ..Tls::default() },
        connect_in_background: true,
        ..Config::new(urls, tenant, node.clone())
    }
}

fn credentials(section: &Nats) -> Credentials {
    let expose = |secret: &Secret| secret.expose().to_owned();
    match (&section.credentials_file, &section.user, &section.token) {
        (Some(file), _, _) => Credentials::File(file.clone()),
        (None, Some(user), _) => Credentials::Password {
            user: user.clone(),
            password: section.password.as_ref().map(expose).unwrap_or_default(),
        },
        (None, None, Some(token)) => Credentials::Token(expose(token)),
        (None, None, None) => Credentials::None,
    }
}
