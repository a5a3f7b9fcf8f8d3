//! How this node reaches NATS, from the section of its configuration. One for all the connections that it opens.

use spanwire_model::{NodeId, Tenant};
use spanwire_nats::{Config, Credentials, Tls};

use crate::config::{Nats, Secret};

/// The connections are made in the background: a node starts without NATS, too.
pub(crate) fn settings(section: &Nats, tenant: Tenant, node: &NodeId) -> Config {
    let urls = section.url.split(',').map(str::trim);
    Config {
        prefix: section.prefix.clone(),
        credentials: credentials(section),
        tls: Tls {
            required: section.tls_required,
            ca_file: section.tls_ca.clone(),
            client_files: section.tls_cert.clone().zip(section.tls_key.clone()),
        },
        jetstream_domain: section.jetstream_domain.clone(),
        connect_in_background: true,
        ..Config::new(urls, tenant, node.clone())
    }
}

/// The configuration was checked: there is one form at most.
fn credentials(section: &Nats) -> Credentials {
    let expose = |secret: &Secret| secret.expose().to_owned();
    if let Some(file) = &section.credentials_file {
        Credentials::File(file.clone())
    } else if let Some(file) = &section.nkey_seed_file {
        Credentials::NkeySeedFile(file.clone())
    } else if let Some(user) = &section.user {
        let password = section.password.as_ref().map(expose).unwrap_or_default();
        Credentials::Password { user: user.clone(), password }
    } else if let Some(token) = &section.token {
        Credentials::Token(expose(token))
    } else {
        Credentials::None
    }
}
