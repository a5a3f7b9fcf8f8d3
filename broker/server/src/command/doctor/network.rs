//! What can be reached: NATS, the OTLP endpoint; and whether the node's own ports are free.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{Finding, nats};
use crate::config::Config;

/// Longest that a name or a connection is waited for.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn check(config: &Config, findings: &mut Vec<Finding>) {
    if let Some(section) = &config.nats {
        nats::check(config, section, findings).await;
    }
    if let Some(endpoint) = &config.telemetry.otlp_endpoint {
        findings.push(check_otlp(endpoint).await);
    }
}

pub(super) fn check_ports(config: &Config, findings: &mut Vec<Finding>) {
    for (name, address) in [("http", config.listen.http), ("grpc", config.listen.grpc)] {
        let check = format!("port {}", address.port());
        findings.push(match TcpListener::bind(address) {
            Ok(_) => Finding::ok(check, format!("{address} is free for {name}")),
            Err(error) => Finding::fail(
                check,
                format!("{address} cannot be used for {name}: {error}"),
                format!("stop the program that has it, or set listen.{name}"),
            ),
        });
    }
}

/// Host and port of a URL, with the scheme's usual port.
pub(super) fn authority(url: &str, usual_port: u16) -> Option<(String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, usual_port),
    };
    Some((host.trim_matches(['[', ']']).to_owned(), port)).filter(|(host, _)| !host.is_empty())
}

/// Why there is no connection to a URL.
pub(super) enum Unreached {
    /// It names no host, or one that nobody knows.
    Unresolved(String),
    /// Nobody answers.
    Unreachable(String),
}

pub(super) async fn connect(url: &str, usual_port: u16) -> Result<TcpStream, Unreached> {
    let authority = authority(url, usual_port).ok_or_else(|| Unreached::Unresolved(format!("{url} has no host")))?;
    let (host, port) = (authority.0.as_str(), authority.1);
    let addresses: Vec<SocketAddr> = match timeout(CONNECT_TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(Unreached::Unresolved(format!("{host}: {error}"))),
        Err(_) => return Err(Unreached::Unresolved(format!("{host}: no answer of the name service"))),
    };
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Unreached::Unreachable(format!("{host}:{port}: {error}"))),
        Err(_) => {
            Err(Unreached::Unreachable(format!("{host}:{port}: no answer within {} s", CONNECT_TIMEOUT.as_secs())))
        }
    }
}

async fn check_otlp(endpoint: &str) -> Finding {
    let usual = if endpoint.starts_with("https://") { 443 } else { 80 };
    match connect(endpoint, usual).await {
        Ok(_) => Finding::ok("otlp", format!("{endpoint} accepts connections")),
        Err(Unreached::Unresolved(error) | Unreached::Unreachable(error)) => {
            Finding::warn("otlp", error, "calls work without it; correct telemetry.otlp_endpoint to see spans")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_of_urls() {
        let check = |url: &str, expected: Option<(&str, u16)>| {
            assert_eq!(authority(url, 1), expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        };
        check("nats://h:4222", Some(("h", 4222)));
        check("h", Some(("h", 1)));
        check("http://u:p@h/path", Some(("h", 1)));
        check("http://[::1]:9/", Some(("::1", 9)));
        check("http://[::1]", Some(("::1", 1)));
        check("http://h:x", None);
        check("", None);
    }
}
