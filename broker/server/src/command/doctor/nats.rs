//! NATS as the node would use it: with the TLS and the credentials of the configuration, whether a node runs or not.

use std::{collections::BTreeSet, net::IpAddr};

use futures::future::join_all;
use serde::Deserialize;
use spanwire_nats::{Cause, Credentials, Probe, Refused};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    time::timeout,
};

use super::{
    Finding, jetstream,
    network::{CONNECT_TIMEOUT, Unreached, authority, connect},
};
use crate::{
    config::{Config, Nats},
    node,
    output::count,
};

const USUAL_PORT: u16 = 4222;
/// A NATS server introduces itself in one line.
const MAX_INFO_BYTES: u64 = 64 * 1024;
/// Major and minor version of the oldest NATS server that works.
const NATS_FLOOR: (u64, u64) = (2, 11);
/// Addresses that are tried, all at the same time.
const MAX_ADDRESSES: usize = 16;

/// How a server introduces itself to everybody, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Introduction {
    version: String,
    tls_required: bool,
    tls_available: bool,
    /// It wants the certificate of whoever connects.
    tls_verify: bool,
}

pub(super) async fn check(config: &Config, section: &Nats, findings: &mut Vec<Finding>) {
    let node = match config.node_id() {
        Ok(node) => node,
        Err(error) => return findings.push(Finding::fail("nats", error.to_string(), "set node.id")),
    };
    let settings = node::nats_settings(section, config.node.tenant.clone(), &node);
    let addresses = settings.urls.iter().take(MAX_ADDRESSES);
    let tried = join_all(addresses.map(|address| attempt(address, &settings))).await;
    let mut probes = Vec::new();
    for (mut found, probe) in tried {
        findings.append(&mut found);
        probes.extend(probe);
    }
    let Some(mut first) = probes.into_iter().next() else { return };
    findings.push(servers(&settings.urls, &first));
    jetstream::check(config, &settings, &first, findings).await;
    let denied = first.denied().await;
    findings.push(match denied.as_slice() {
        [] => Finding::ok("nats permissions", format!("nothing is refused below {}", settings.base())),
        _ => Finding::fail(
            "nats permissions",
            format!("refused: {}", denied.join(", ")),
            "give the user of nats the permissions of broker/decisions/0022-what-a-tenant-may-do-in-nats.md",
        ),
    });
}

/// One address: is it there, is it new enough, does it take us.
async fn attempt(address: &str, settings: &spanwire_nats::Config) -> (Vec<Finding>, Option<Probe>) {
    let introduction = match introduce(address).await {
        Ok(introduction) => introduction,
        Err(finding) => return (vec![finding], None),
    };
    let mut found = vec![version(address, &introduction.version)];
    let by_address = address.starts_with("tls://");
    let tls = &settings.tls;
    let wanted = by_address || tls.required || tls.ca_file.is_some() || tls.client_files.is_some();
    if wanted && !introduction.tls_required && !introduction.tls_available {
        found.push(Finding::fail(
            "nats tls",
            format!("{address} has no TLS, and the configuration asks for it"),
            "give nats-server a certificate (tls { cert_file, key_file }), or take tls_… and tls:// out of [nats]",
        ));
        return (found, None);
    }
    let settings = spanwire_nats::Config { urls: vec![address.to_owned()], ..settings.clone() };
    match spanwire_nats::probe(&settings).await {
        Ok(probe) => {
            found.push(encryption(address, probe.tls));
            found.push(accepted(address, &settings.credentials, probe.asks_for_credentials));
            (found, Some(probe))
        }
        Err(mut problem) => {
            // In TLS 1.3 a server that does not like the certificate may just be gone after the handshake.
            if introduction.tls_verify && problem.cause == Cause::Unreachable {
                problem.cause = Cause::OwnCertificate;
            }
            found.push(refused(address, &settings.credentials, &problem));
            (found, None)
        }
    }
}

async fn introduce(address: &str) -> Result<Introduction, Finding> {
    let stream = connect(address, USUAL_PORT).await.map_err(|error| match error {
        Unreached::Unresolved(text) => Finding::fail(
            "nats",
            format!("name not resolved: {text}"),
            "correct nats.url, or what tells this machine the addresses of names",
        ),
        Unreached::Unreachable(text) => Finding::fail(
            "nats",
            format!("unreachable: {text}"),
            "start nats-server, correct nats.url, or open the way to it",
        ),
    })?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(MAX_INFO_BYTES));
    let introduction = match timeout(CONNECT_TIMEOUT, reader.read_line(&mut line)).await {
        Ok(Ok(_)) => line.strip_prefix("INFO ").and_then(|json| serde_json::from_str(json).ok()),
        Ok(Err(_)) | Err(_) => None,
    };
    introduction.ok_or_else(|| {
        Finding::fail("nats", format!("{address} does not introduce itself as NATS"), "correct nats.url")
    })
}

fn version(address: &str, version: &str) -> Finding {
    let mut numbers = version.split('.').map(|part| part.parse::<u64>().unwrap_or_default());
    let found = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let text = format!("{address} is version {version}");
    match found >= NATS_FLOOR {
        true => Finding::ok("nats", text),
        false => {
            Finding::fail("nats", text, format!("update nats-server to {}.{} or later", NATS_FLOOR.0, NATS_FLOOR.1))
        }
    }
}

fn encryption(address: &str, tls: bool) -> Finding {
    let check = "nats tls";
    match (tls, is_this_machine(address)) {
        (true, _) => Finding::ok(check, format!("{address}: TLS 1.3, and the certificate is trusted")),
        (false, true) => Finding::ok(check, format!("{address}: none, on this machine")),
        (false, false) => Finding::warn(
            check,
            format!("{address}: none: whoever is on the way reads and changes what nodes say"),
            "give nats-server a certificate (tls { cert_file, key_file }) and set nats.tls_required = true",
        ),
    }
}

fn is_this_machine(address: &str) -> bool {
    let host = authority(address, USUAL_PORT).map(|(host, _)| host).unwrap_or_default();
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What the configuration gives as a proof, by the names of its keys.
fn proof(credentials: &Credentials) -> &'static str {
    match credentials {
        Credentials::None => "",
        Credentials::Password { .. } => "nats.user and nats.password",
        Credentials::Token(_) => "nats.token",
        Credentials::File(_) => "nats.credentials_file",
        Credentials::NkeySeedFile(_) => "nats.nkey_seed_file",
    }
}

fn accepted(address: &str, credentials: &Credentials, asked: bool) -> Finding {
    let text = match (credentials, asked) {
        (Credentials::None, false) => format!("{address} asks for none"),
        (Credentials::None, true) => format!("{address} takes this node without any"),
        (credentials, true) => format!("{address} takes {}", proof(credentials)),
        (credentials, false) => format!("{address} asks for none, and did not look at {}", proof(credentials)),
    };
    Finding::ok("nats credentials", text)
}

fn refused(address: &str, credentials: &Credentials, problem: &Refused) -> Finding {
    let detail = &problem.detail;
    let (check, kind, advice) = match problem.cause {
        Cause::Settings => ("nats", "configuration", "correct the file that is named, or [nats]".to_owned()),
        Cause::Unresolved => ("nats", "name not resolved", "correct nats.url".to_owned()),
        Cause::Unreachable => ("nats", "unreachable", "see the log of nats-server".to_owned()),
        Cause::Certificate => (
            "nats tls",
            "certificate problem",
            "set nats.tls_ca to the authority of the server's certificate, and name the server as the certificate does"
                .to_owned(),
        ),
        Cause::OwnCertificate => (
            "nats tls",
            "certificate problem of this node",
            "set nats.tls_cert and nats.tls_key to a certificate of the authority that nats-server trusts".to_owned(),
        ),
        Cause::Tls => ("nats tls", "tls problem", "let nats-server speak TLS 1.3".to_owned()),
        Cause::Credentials => (
            "nats credentials",
            "authorization violation",
            match credentials {
                Credentials::None => "set credentials in [nats]: nats-server asks for them".to_owned(),
                given => format!("correct {}, or the users of nats-server", proof(given)),
            },
        ),
    };
    Finding::fail(check, format!("{kind}: {address}: {detail}"), advice)
}

/// Whether the nodes go on without this server.
fn servers(urls: &[String], probe: &Probe) -> Finding {
    let check = "nats servers";
    let own = urls.iter().filter_map(|url| authority(url, USUAL_PORT));
    let told = probe.servers.iter().filter_map(|url| authority(url, USUAL_PORT));
    let known = own.clone().chain(told).collect::<BTreeSet<_>>().len();
    match (&probe.cluster, own.count()) {
        (Some(cluster), _) if known > 1 => {
            Finding::ok(check, format!("cluster {cluster}, {} known", count(known, "server")))
        }
        (None, 2..) => Finding::warn(
            check,
            "several are named, and they are no cluster",
            "name servers of one cluster: nodes at separate servers do not see each other",
        ),
        (Some(_) | None, _) => {
            Finding::ok(check, "one is known: while it is away, nodes do not reach each other; a cluster of 3 goes on")
        }
    }
}

#[cfg(test)]
mod tests;
