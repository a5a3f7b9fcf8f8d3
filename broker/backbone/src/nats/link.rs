//! The connection to NATS and its state.

use std::{sync::Arc, time::Duration};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use spanwire_model::{Error, ErrorKind, Result};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{Config, Credentials};

/// The oldest server that has what a cluster of brokers needs.
const OLDEST_SERVER: (i64, i64, i64) = (2, 11, 0);
/// Longest a single attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest time for an attempt, also when little is left of the time to connect.
const MIN_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the client asks a silent server whether it is there; it gives up after three times this.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Messages that wait for one subscription. What comes above that is lost, which is noticed.
const SUBSCRIPTION_CAPACITY: usize = 16_384;
/// Longest wait between two attempts to connect again.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(4);

/// What has happened to the connection so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) connected: bool,
    /// How often it was made.
    pub(super) connects: u64,
    /// How often the client had to drop messages because a subscription was full.
    pub(super) overflows: u64,
}

/// Connects, for as long as the configuration says.
pub(super) async fn connect(config: &Config) -> Result<(Client, watch::Receiver<Link>)> {
    let (state, link) = watch::channel(Link::default());
    let state = Arc::new(state);
    let deadline = Instant::now() + config.connect_timeout;
    let mut attempt = 0;
    loop {
        let (servers, options) = options(config, state.clone(), deadline).await?;
        let error = match options.connect(servers).await {
            Ok(client) => {
                check_version(&client);
                return Ok((client, link));
            }
            Err(error) => error,
        };
        attempt += 1;
        let delay = reconnect_delay(attempt);
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

async fn options(
    config: &Config,
    state: Arc<watch::Sender<Link>>,
    deadline: Instant,
) -> Result<(Vec<ServerAddr>, ConnectOptions)> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidParams, what);
    let mut servers = Vec::new();
    let mut credentials = config.credentials.clone();
    for (at, url) in config.urls.iter().enumerate() {
        let shown = || format!("nats address {} is not a url", at + 1);
        let address: ServerAddr = url.parse().map_err(|_| invalid(shown()))?;
        let mut url = address.into_inner();
        if let Some(found) = credentials_in(url.username(), url.password()) {
            credentials = found;
        }
        // The client logs addresses: they must not have anything secret in them.
        let cleaned = url.set_password(None).and_then(|()| url.set_username(""));
        cleaned.map_err(|()| invalid(shown()))?;
        servers.push(ServerAddr::from_url(url).map_err(|error| invalid(error.to_string()))?);
    }
    if servers.is_empty() {
        return Err(invalid("no nats address is given".into()));
    }
    let left = deadline.saturating_duration_since(Instant::now()).max(MIN_ATTEMPT_TIMEOUT);
    let mut options = ConnectOptions::new()
        .name(format!("spanwire {}/{}", config.tenant, config.node))
        .ping_interval(PING_INTERVAL)
        .connection_timeout(ATTEMPT_TIMEOUT.min(left))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            note(&state, &event);
            std::future::ready(())
        });
    options = match credentials {
        Credentials::None => options,
        Credentials::Password { user, password } => options.user_and_password(user, password),
        Credentials::Token(token) => options.token(token),
        Credentials::File(path) => options
            .credentials_file(&path)
            .await
            .map_err(|error| invalid(format!("cannot read nats credentials file {}: {error}", path.display())))?,
    };
    options = options.require_tls(config.tls.required);
    if let Some(file) = &config.tls.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &config.tls.client_files {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if config.connect_in_background {
        options = options.retry_on_initial_connect();
    }
    Ok((servers, options))
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

fn note(state: &watch::Sender<Link>, event: &Event) {
    match event {
        Event::Connected => state.send_modify(|link| {
            link.connected = true;
            link.connects += 1;
        }),
        Event::Disconnected | Event::Closed => state.send_modify(|link| link.connected = false),
        Event::SlowConsumer(_) => state.send_modify(|link| link.overflows += 1),
        Event::ServerError(error) => tracing::warn!(%error, "nats server reported an error"),
        Event::ClientError(error) => tracing::debug!(%error, "nats client reported an error"),
        Event::LameDuckMode | Event::Draining => {}
    }
}

/// Says so when a server is too old. The background connection has no version yet, and is checked when it has.
pub(super) fn check_version(client: &Client) {
    let (major, minor, patch) = OLDEST_SERVER;
    if let Some(info) = client.try_server_info()
        && !client.is_server_compatible(major, minor, patch)
    {
        tracing::warn!(version = info.version, "nats server is older than {major}.{minor}: upgrade it");
    }
}

/// Doubles from 50 ms up to the longest wait, less a random part of up to a half, so that nodes do not come back as one.
fn reconnect_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let full = Duration::from_millis(50).saturating_mul(1 << doublings).min(MAX_RECONNECT_DELAY);
    let random = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
    full.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_a_limit() {
        for attempt in 0..70 {
            let delay = reconnect_delay(attempt);
            assert!(delay >= Duration::from_millis(25) && delay <= MAX_RECONNECT_DELAY, "{attempt}: {delay:?}");
        }
    }

    #[test]
    fn credentials_in_an_address() {
        assert!(credentials_in("", None).is_none());
        assert!(matches!(credentials_in("t%20k", None), Some(Credentials::Token(token)) if token == "t k"));
        let both = credentials_in("u", Some("p%40"));
        assert!(matches!(both, Some(Credentials::Password { user, password }) if user == "u" && password == "p@"));
    }
}
