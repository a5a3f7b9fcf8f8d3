//! Makes a connection.

use std::{path::Path, sync::Arc, time::Duration};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr, jetstream};
use spanwire_model::{Error, ErrorKind, Result};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Config, Credentials, Link, link, tls};

/// Longest a single attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest time for an attempt, also when little is left of the time to connect.
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the client asks a silent server whether it is there; it gives up after three times this.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Messages that wait for one subscription. What comes above that is lost, which is noticed.
const SUBSCRIPTION_CAPACITY: usize = 16_384;

/// A connection that comes back by itself, for ever.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The client. Its inboxes begin with [`Config::inbox_prefix`].
    pub client: Client,
    /// What has happened to it so far.
    pub link: watch::Receiver<Link>,
    jetstream_domain: Option<String>,
}

impl Connection {
    pub(super) fn new(client: Client, link: watch::Receiver<Link>, config: &Config) -> Self {
        Self { client, link, jetstream_domain: config.jetstream_domain.clone() }
    }

    /// JetStream over this connection, in the domain of the configuration.
    pub fn jetstream(&self) -> jetstream::Context {
        match &self.jetstream_domain {
            Some(domain) => jetstream::with_domain(self.client.clone(), domain),
            None => jetstream::new(self.client.clone()),
        }
    }
}

/// Connects, for as long as the configuration says. From then on the client connects again by itself, for ever.
///
/// # Errors
/// `Unavailable` when there is no connection within [`Config::connect_timeout`], or at once when the server refuses the credentials;
/// `InvalidParams` when the configuration makes no sense or a file of it cannot be read. With [`Config::connect_in_background`] only the
/// latter.
pub async fn connect(config: &Config) -> Result<Connection> {
    config.check()?;
    let (state, link) = watch::channel(Link::default());
    let state = Arc::new(state);
    let deadline = Instant::now() + config.connect_timeout;
    let mut attempt = 0;
    loop {
        let (servers, options) = options(config, state.clone(), deadline).await?;
        let error = match options.connect(servers).await {
            Ok(client) => {
                let connection = Connection::new(client, link, config);
                link::check_version(&connection.client);
                return Ok(connection);
            }
            Err(error) => error,
        };
        attempt += 1;
        let delay = link::reconnect_delay(attempt);
        let hopeless = match error.kind() {
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Authentication
            | ConnectErrorKind::AuthorizationViolation
            | ConnectErrorKind::MaxReconnects => true,
            ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Tls | ConnectErrorKind::Io => false,
        };
        if hopeless || Instant::now() + delay > deadline {
            let text = format!("cannot connect to nats at {}: {}", config.addresses(), error.kind());
            return Err(Error::new(ErrorKind::Unavailable, text).with_private(error));
        }
        sleep(delay).await;
    }
}

/// The addresses to try, and all else that a connection needs. Reads files.
pub(super) async fn options(
    config: &Config,
    state: Arc<watch::Sender<Link>>,
    deadline: Instant,
) -> Result<(Vec<ServerAddr>, ConnectOptions)> {
    let (servers, in_address) = addresses(config)?;
    let left = deadline.saturating_duration_since(Instant::now()).max(MIN_ATTEMPT_TIMEOUT);
    let mut options = ConnectOptions::new()
        .name(format!("spanwire {}/{}", config.tenant, config.node))
        .custom_inbox_prefix(config.inbox_prefix())
        .ping_interval(PING_INTERVAL)
        .connection_timeout(ATTEMPT_TIMEOUT.min(left))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(link::reconnect_delay)
        .event_callback(move |event| {
            link::note(&state, &event);
            std::future::ready(())
        });
    options = match in_address.unwrap_or_else(|| config.credentials.clone()) {
        Credentials::None => options,
        Credentials::Password { user, password } => options.user_and_password(user, password),
        Credentials::Token(token) => options.token(token),
        Credentials::File(path) => options.credentials_file(&path).await.map_err(|error| unusable(&path, &error))?,
        Credentials::NkeySeedFile(path) => options.nkey(read_seed(&path).await?),
    };
    let required = config.tls.is_required();
    options = options.require_tls(required);
    match tls::client_config(config.tls.clone()).await {
        Ok(tls) => options = options.tls_client_config(tls),
        Err(error) if required || servers.iter().any(ServerAddr::tls_required) => return Err(error),
        // A machine without authorities of its own can still use a plain server.
        Err(error) => tracing::debug!(%error, "no tls for nats"),
    }
    if config.connect_in_background {
        options = options.retry_on_initial_connect();
    }
    Ok((servers, options))
}

/// The addresses without credentials, and the credentials.
fn addresses(config: &Config) -> Result<(Vec<ServerAddr>, Option<Credentials>)> {
    let mut servers = Vec::new();
    let mut credentials = None;
    for (at, url) in config.urls.iter().enumerate() {
        let shown = || invalid(format!("nats address {} is not a url", at + 1));
        let address: ServerAddr = url.parse().map_err(|_| shown())?;
        let mut url = address.into_inner();
        if let Some(found) = credentials_in(url.username(), url.password()) {
            credentials = Some(found);
        }
        // The client logs addresses: they must not have anything secret in them.
        let cleaned = url.set_password(None).and_then(|()| url.set_username(""));
        cleaned.map_err(|()| shown())?;
        servers.push(ServerAddr::from_url(url).map_err(|error| invalid(error.to_string()))?);
    }
    Ok((servers, credentials))
}

/// `user:password@` or `token@`.
fn credentials_in(user: &str, password: Option<&str>) -> Option<Credentials> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (user, password) {
        ("", _) => None,
        (user, Some(password)) => Some(Credentials::Password { user: decode(user), password: decode(password) }),
        (token, None) => Some(Credentials::Token(decode(token))),
    }
}

/// The first line of a seed file that is a seed.
async fn read_seed(path: &Path) -> Result<String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|error| unusable(path, &error))?;
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    let seed = seed.ok_or_else(|| invalid(format!("nats nkey file {} has no user seed (SU…)", path.display())))?;
    // The client takes any text, and would fail at each connect.
    nkeys::KeyPair::from_seed(seed)
        .map_err(|_| invalid(format!("nats nkey file {} has a seed that is broken", path.display())))?;
    Ok(seed.to_owned())
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    invalid(format!("cannot read nats credentials file {}: {error}", path.display()))
}

pub(super) fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidParams, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address() {
        assert!(credentials_in("", None).is_none());
        assert!(matches!(credentials_in("t%20k", None), Some(Credentials::Token(token)) if token == "t k"));
        let both = credentials_in("u", Some("p%40"));
        assert!(matches!(both, Some(Credentials::Password { user, password }) if user == "u" && password == "p@"));
    }
}
