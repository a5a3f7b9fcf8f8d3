//! How a node reaches NATS and what it may do there: TLS, credentials, tenants in one NATS, nodes behind a leaf node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod credentials;
mod edge;
mod tenants;
mod tls;

use std::time::Duration;

use spanwire_model::Error;
use spanwire_nats::{Config, Connection};
use tokio::time::timeout;

/// Longest a test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection that will not come is waited for.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(TEST_TIMEOUT, Box::pin(future)).await.expect("took too long")
}

/// A node of the tenant `t`.
fn config(url: &str) -> Config {
    Config::new([url], "t".parse().unwrap(), "a".parse().unwrap())
}

/// Connects, and sees that the server takes messages.
async fn connected(config: &Config) -> Connection {
    let connection = within(spanwire_nats::connect(config)).await.unwrap();
    within(connection.client.flush()).await.unwrap();
    connection
}

/// The error of a connection that is not made.
async fn refused(mut config: Config) -> Error {
    config.connect_timeout = REFUSED_AFTER;
    within(spanwire_nats::connect(&config)).await.map(|_| "connected").unwrap_err()
}
