//! One attempt to connect and what came of it, for whoever looks for what is wrong.
//!
//! [`connect`](super::connect) goes on until there is a connection; a [`Probe`] tries once and tells the reasons apart. It changes nothing:
//! it subscribes where no message of a node comes by, and publishes empty messages where no node listens, all below the tenant's own
//! prefix.

use std::{collections::BTreeSet, error::Error as StdError, io, sync::Arc, time::Duration};

use async_nats::{ConnectError, ConnectErrorKind, Event, ServerError};
use rustls::AlertDescription;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{Config, Connection, Link, connection};

/// Longest the attempt may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that the server may take to answer a message.
const ROUND_TRIP: Duration = Duration::from_secs(2);
/// The server has told all that it had to tell when it says nothing for so long.
const QUIET: Duration = Duration::from_millis(200);
/// Refusals of the server that are kept until they are looked at.
const MAX_DENIED: usize = 64;
/// Tokens that no server, node, principal or kind of event has: what is published to the one is not even heard by this connection itself,
/// so that the server answers at once that nobody listens.
const NOBODY: &str = "=doctor";
const NOBODY_ELSE: &str = "=nobody";
/// What the server says before the subject.
const VIOLATION: &str = "permissions violation for ";

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The configuration makes no sense, or a file of it cannot be used.
    Settings,
    /// The name of the server is not known.
    Unresolved,
    /// Nobody answers, or not as NATS does.
    Unreachable,
    /// The server's certificate is not one that this node trusts for that name.
    Certificate,
    /// The server does not take the certificate of this node, or wants one.
    OwnCertificate,
    /// There is no common version of TLS, or no TLS at the other end.
    Tls,
    /// The server does not take the credentials: an authorization violation.
    Credentials,
}

/// No connection, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of which kind.
    pub cause: Cause,
    /// In the words of whoever noticed, without anything secret.
    pub detail: String,
}

/// A connection that was made in one attempt, and what the server refused on it.
#[derive(Debug)]
pub struct Probe {
    /// The connection. Its link is not kept up to date.
    pub connection: Connection,
    /// True when it is encrypted.
    pub tls: bool,
    /// True when the server wants to know who connects.
    pub asks_for_credentials: bool,
    /// The name of the server's cluster, if it has one.
    pub cluster: Option<String>,
    /// Addresses of servers of the cluster, `host:port`, as far as the server tells them.
    pub servers: Vec<String>,
    config: Config,
    denied: mpsc::Receiver<String>,
}

/// Connects once, within about five seconds for each address of the server.
///
/// # Errors
/// Why there is no connection.
pub async fn probe(config: &Config) -> Result<Probe, Refused> {
    let config = Config { connect_in_background: false, ..config.clone() };
    let settings = |error: spanwire_model::Error| Refused { cause: Cause::Settings, detail: error.public.to_string() };
    config.check().map_err(settings)?;
    let (state, link) = watch::channel(Link::default());
    let deadline = Instant::now() + PROBE_TIMEOUT;
    let (servers, options) = connection::options(&config, Arc::new(state), deadline).await.map_err(settings)?;
    let (sender, denied) = mpsc::channel(MAX_DENIED);
    let options = options.event_callback(move |event| {
        if let Event::ServerError(ServerError::Other(text)) = event {
            // More than that say the same.
            let _ = sender.try_send(text);
        }
        std::future::ready(())
    });
    let by_address = servers.iter().any(async_nats::ServerAddr::tls_required);
    let client = options.connect(servers).await.map_err(|error| refused(&error))?;
    let info = client.server_info();
    Ok(Probe {
        connection: Connection::new(client, link, &config),
        tls: info.tls_required || by_address || config.tls.is_required(),
        asks_for_credentials: info.auth_required,
        cluster: info.cluster.filter(|name| !name.is_empty()),
        servers: info.connect_urls,
        config,
        denied,
    })
}

impl Probe {
    /// What the server has refused on this connection so far, and what of the subjects of a node it refuses: such as
    /// `publish to sw.v1.t.evt.>`. Sorted, without repetitions.
    pub async fn denied(&mut self) -> Vec<String> {
        let client = &self.connection.client;
        let [subscribed, published] = [subscribed(&self.config), published(&self.config)];
        let mut held = Vec::new();
        for (subject, _) in &subscribed {
            held.push(client.subscribe(subject.clone()).await);
        }
        for (subject, _) in &published {
            // Nobody listens there: the answer says only that the server has read all that was sent before.
            let _ = timeout(ROUND_TRIP, client.request(subject.clone(), "".into())).await;
        }
        let mut found = BTreeSet::new();
        while let Ok(Some(text)) = timeout(QUIET, self.denied.recv()).await {
            found.extend(denial(&text, subscribed.iter().chain(&published)));
        }
        found.into_iter().collect()
    }
}

/// Where a node listens, and the permission for it.
fn subscribed(config: &Config) -> Vec<(String, String)> {
    let (base, node) = (config.base(), &config.node);
    [
        (format!("call.*.{NOBODY}.*.*"), "call.>".to_owned()),
        (format!("evt.{NOBODY}.*.*"), "evt.>".to_owned()),
        (format!("node.{node}.{NOBODY}.*.*.*"), format!("node.{node}.>")),
        (format!("ctl.{node}.{NOBODY}"), format!("ctl.{node}.*")),
        (format!("ctl.=all.{NOBODY}"), "ctl.=all.*".to_owned()),
        (format!("inbox.{node}.{NOBODY}.*"), format!("inbox.{node}.>")),
        (format!("js.{node}.{NOBODY}.*"), format!("js.{node}.>")),
    ]
    .map(|(subject, permission)| (format!("{base}.{subject}"), format!("{base}.{permission}")))
    .into()
}

/// Where a node publishes, as far as nobody hears it, and the permission for it.
fn published(config: &Config) -> Vec<(String, String)> {
    let base = config.base();
    let [call, event] = ["call._", "evt"].map(|what| format!("{base}.{what}.{NOBODY_ELSE}.{NOBODY}.{NOBODY}"));
    vec![(event, format!("{base}.evt.>")), (call, format!("{base}.call.>"))]
}

/// A refusal of the server in our words; `None` when it is about something else.
fn denial<'a>(text: &str, mut asked: impl Iterator<Item = &'a (String, String)>) -> Option<String> {
    let said = text.get(..VIOLATION.len()).filter(|said| said.eq_ignore_ascii_case(VIOLATION))?;
    let rest = &text[said.len()..];
    let subject = rest.split('"').nth(1)?;
    let verb = if rest.to_ascii_lowercase().starts_with("publish") { "publish" } else { "subscribe" };
    let permission = asked.find(|(asked, _)| asked == subject).map_or(subject, |(_, permission)| permission.as_str());
    // One stream stands for all.
    let permission = match permission.split_once(".API.STREAM.INFO.") {
        Some((api, _)) => format!("{api}.API.STREAM.INFO.*"),
        None => permission.to_owned(),
    };
    Some(format!("{verb} to {permission}"))
}

fn refused(error: &ConnectError) -> Refused {
    let cause = match error.kind() {
        ConnectErrorKind::ServerParse => Cause::Settings,
        ConnectErrorKind::Dns => Cause::Unresolved,
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => Cause::Credentials,
        ConnectErrorKind::TimedOut | ConnectErrorKind::Tls | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            below(error)
        }
    };
    let mut detail = error.kind().to_string();
    if let Some(source) = error.source() {
        detail = source.to_string();
    }
    Refused { cause, detail }
}

/// What the causes of an error say.
fn below(error: &ConnectError) -> Cause {
    if let Some(ServerError::Other(text)) = find::<ServerError>(error) {
        // Such as "user authentication expired".
        return if text.to_lowercase().contains("authentication") { Cause::Credentials } else { Cause::Unreachable };
    }
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Cause::Certificate,
        Some(rustls::Error::AlertReceived(alert)) if is_about_a_certificate(*alert) => Cause::OwnCertificate,
        Some(_) => Cause::Tls,
        None if error.kind() == ConnectErrorKind::Tls => Cause::Tls,
        None => Cause::Unreachable,
    }
}

fn is_about_a_certificate(alert: AlertDescription) -> bool {
    [
        AlertDescription::NoCertificate,
        AlertDescription::BadCertificate,
        AlertDescription::UnsupportedCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
        AlertDescription::AccessDenied,
        AlertDescription::CertificateRequired,
    ]
    .contains(&alert)
}

/// The first cause of that type. An error of I/O hides the one in it from those who ask for its source.
fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(now) = next {
        if let Some(found) = now.downcast_ref::<T>() {
            return Some(found);
        }
        next = match now.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => now.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests;
