//! What can be reached: NATS, the OTLP endpoint; and whether the node's own ports are free.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::Finding;
use crate::config::{Config, LedgerStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A NATS server introduces itself in one line.
const MAX_INFO_BYTES: u64 = 64 * 1024;
/// Major and minor version of the oldest NATS server that works.
const NATS_FLOOR: (u64, u64) = (2, 11);

pub(super) async fn check(config: &Config, findings: &mut Vec<Finding>) {
    if let Some(nats) = &config.nats {
        for address in nats.url.split(',').map(str::trim) {
            // The JetStream of another domain is not this server's own.
            let wanted = config.ledger.store != LedgerStore::Local && nats.jetstream_domain.is_none();
            findings.push(check_nats(address, wanted).await);
        }
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
fn authority(url: &str, usual_port: u16) -> Option<(String, u16)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, usual_port),
    };
    Some((host.trim_matches(['[', ']']).to_owned(), port)).filter(|(host, _)| !host.is_empty())
}

async fn connect(url: &str, usual_port: u16) -> Result<TcpStream, String> {
    let (host, port) = authority(url, usual_port).ok_or_else(|| format!("{url} has no host"))?;
    match timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("{host}:{port}: {error}")),
        Err(_) => Err(format!("{host}:{port}: no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

async fn check_nats(url: &str, wants_jetstream: bool) -> Finding {
    let check = "nats";
    let stream = match connect(url, 4222).await {
        Ok(stream) => stream,
        Err(error) => return Finding::fail(check, error, "start nats-server, or correct nats.url"),
    };
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_INFO_BYTES));
    let read = timeout(CONNECT_TIMEOUT, reader.read_line(&mut line)).await;
    let info: Option<Value> = match read {
        Ok(Ok(_)) => line.strip_prefix("INFO ").and_then(|json| serde_json::from_str(json).ok()),
        _ => None,
    };
    let Some(info) = info else {
        return Finding::fail(check, format!("{url} does not introduce itself as NATS"), "correct nats.url");
    };
    let version = info.get("version").and_then(Value::as_str).unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u64>().unwrap_or_default());
    let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let has_jetstream = info.get("jetstream").and_then(Value::as_bool) == Some(true);
    match found >= NATS_FLOOR {
        true if wants_jetstream && !has_jetstream => Finding::warn(
            check,
            format!(
                "{url} is version {version}, without JetStream: nothing is registered or kept in the shared context"
            ),
            "start nats-server with -js, or set ledger.store = \"local\"",
        ),
        true => Finding::ok(check, format!("{url} is version {version}")),
        false => Finding::fail(
            check,
            format!("{url} is version {version}"),
            format!("update nats-server to {}.{} or later", NATS_FLOOR.0, NATS_FLOOR.1),
        ),
    }
}

async fn check_otlp(endpoint: &str) -> Finding {
    let usual = if endpoint.starts_with("https://") { 443 } else { 80 };
    match connect(endpoint, usual).await {
        Ok(_) => Finding::ok("otlp", format!("{endpoint} accepts connections")),
        Err(error) => {
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
