//! Servers that are reached over Streamable HTTP, of either era, or over the HTTP+SSE that came before it.

mod body;
mod cancel;
mod exchange;
mod headers;
mod notices;
pub(crate) mod params;
mod relist;
mod resume;
mod session;
mod sse2024;
mod wire;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::HeaderMap;
use reqwest::{Url, redirect};
use spanwire_era::upstream::{Settings, connect};
use spanwire_mcp::{Era, Json};
use spanwire_model::{
    Connected, Connector, EraChoice, Error, ErrorKind, HttpTarget, Result, ServerId, ServerSpec, Target,
};

use sse2024::Sse2024Wire;
use wire::HttpWire;

/// Redirects that are followed, all of them within the server's own origin.
const MAX_REDIRECTS: usize = 3;
/// Idle connections that are kept to one server.
const MAX_IDLE: usize = 256;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// What reaching servers needs.
#[derive(Clone)]
pub struct Config {
    /// How long a connection may take to be established.
    pub connect_timeout: Duration,
    /// Longest message of a server, in bytes.
    pub max_body_bytes: usize,
    /// How long the end of a session, a cancellation or a new handshake may take.
    pub control_timeout: Duration,
    /// The handshake.
    pub settings: Settings,
}

impl Config {
    /// A configuration with the defaults; `client_info` is the object `clientInfo`.
    pub fn new(client_info: Json) -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            // What an edge accepts, and room for the envelope.
            max_body_bytes: 16 * 1024 * 1024 + 64 * 1024,
            control_timeout: Duration::from_secs(5),
            settings: Settings::new(client_info),
        }
    }
}

/// Connects servers over HTTP. Each server has a pool of connections of its own.
#[derive(Clone)]
pub struct HttpConnector {
    config: Arc<Config>,
}

impl HttpConnector {
    /// A connector. Makes ring the TLS provider of the process, unless one was chosen before.
    pub fn new(config: Config) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { config: Arc::new(config) }
    }
}

#[async_trait]
impl Connector for HttpConnector {
    async fn connect(&self, spec: &ServerSpec, known: Option<Era>) -> Result<Connected> {
        let target = match &spec.target {
            Target::Http(target) => target,
            Target::Stdio(_) | Target::Builtin(_) => {
                return Err(Error::new(ErrorKind::Internal, format!("server \"{}\" is no HTTP endpoint", spec.id)));
            }
        };
        let endpoint = Endpoint::new(&spec.id, target, &self.config)?;
        let (wire, unasked) = HttpWire::new(&spec.id, endpoint, self.config.clone());
        let connected = connect(&spec.id, wire.clone(), unasked, spec.era, known, &self.config.settings).await;
        match connected {
            Err(refused) if wire.was_refused() => self.connect_2024(spec, target, refused).await,
            connected => connected,
        }
    }
}

impl HttpConnector {
    /// A server that refuses `initialize` at its URL may have the transport of 2024-11-05 there (2025-11-25,
    /// basic/transports, "Backwards Compatibility").
    async fn connect_2024(&self, spec: &ServerSpec, target: &HttpTarget, refused: Error) -> Result<Connected> {
        let endpoint = Endpoint::new(&spec.id, target, &self.config)?;
        match Sse2024Wire::open(&spec.id, endpoint, self.config.clone()).await {
            Ok((wire, unasked)) => {
                connect(&spec.id, wire, unasked, EraChoice::Legacy, None, &self.config.settings).await
            }
            // Both are told: either may be what was meant.
            Err(error) => {
                let text = format!("{}; and over http+sse of 2024-11-05: {error}", refused.public);
                Err(Error { public: text.into(), ..refused })
            }
        }
    }
}

/// Where requests go, and what each of them carries.
struct Endpoint {
    client: reqwest::Client,
    url: Url,
    /// The target's own headers. They may be secret.
    headers: HeaderMap,
}

impl Endpoint {
    fn new(server: &ServerId, target: &HttpTarget, config: &Config) -> Result<Self> {
        let bad = |what: &str| Error::new(ErrorKind::Unavailable, format!("server \"{server}\": {what}"));
        let url: Url = target.url.parse().map_err(|error| bad(&format!("its url cannot be read: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("its url must begin with http or https"));
        }
        let headers = headers::of_target(&target.headers).map_err(|name| bad(&format!("bad header \"{name}\"")))?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .redirect(redirect::Policy::custom(within_origin))
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("spanwire/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| bad("no HTTP client").with_private(error))?;
        Ok(Self { client, url, headers })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Headers may be secret: they go to no other origin. A POST stays one only where the status says so.
fn within_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let keeps_the_body = matches!(attempt.status().as_u16(), 307 | 308);
    let same =
        keeps_the_body && attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn no_proxy_stands_before_this_machine() {
        for (url, expected) in [
            ("http://127.0.0.1:1/mcp", true),
            ("http://localhost/mcp", true),
            ("http://[::1]:1/mcp", true),
            ("https://example.com/mcp", false),
            ("http://127.0.0.1.example.com/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_said_without_its_secrets() {
        let check = |url: &str, header: &str, expected: &str| {
            let headers = [(header.to_owned(), "secret\n".to_owned())].into();
            let target = HttpTarget { url: url.to_owned(), headers };
            let error = Endpoint::new(&"a".parse().unwrap(), &target, &Config::new(Json::empty_object()));
            assert_eq!(error.err().unwrap().public, expected);
        };
        check("ftp://x/", "a", "server \"a\": its url must begin with http or https");
        check("http://x/", "authorization", "server \"a\": bad header \"authorization\"");
    }
}
