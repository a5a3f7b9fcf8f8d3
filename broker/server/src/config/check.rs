//! What a well-formed configuration must still satisfy.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{Config, LedgerStore, OtlpProtocol, Place, PrincipalTable, Problem};

const MAX_PRINCIPAL_NAME: usize = 64;
const SHA256_HEX_DIGITS: usize = 64;
/// What the leases take, and what is still a fail-over.
const LEASE_TTL_MS: RangeInclusive<u64> = 3_000..=60_000;
/// The id of the builtin server of the shared context.
pub(crate) const CONTEXT_SERVER: &str = "context";
/// Why nodes with a ledger each cannot place servers.
pub(crate) const ANY_NEEDS_JETSTREAM: &str = "\"any\" needs the ledger in JetStream: with [nats] and ledger.store = \"local\" no node \
                                              knows what the others run, and each would run it";

impl Config {
    /// Everything that cannot work, in the order of the file's sections.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut found = Problems(Vec::new());
        self.check_listen(&mut found);
        self.check_limits(&mut found);
        if let Some(nats) = &self.nats {
            found.0.extend(nats.problems());
        }
        self.check_ledger(&mut found);
        self.check_context(&mut found);
        self.check_telemetry(&mut found);
        self.check_principals(&mut found);
        self.check_servers(&mut found);
        self.check_views(&mut found);
        found.0
    }

    fn check_listen(&self, found: &mut Problems) {
        let open = self.principals.is_empty() && !self.listen.allow_unauthenticated_remote;
        for (key, address) in [("listen.http", self.listen.http), ("listen.grpc", self.listen.grpc)] {
            if open && !address.ip().is_loopback() {
                let what = format!(
                    "{address} is reachable from other machines, and there is no principal: add [[principals]] with a \
                     token, or set listen.allow_unauthenticated_remote = true"
                );
                found.add(key, what);
            }
        }
        if self.listen.http == self.listen.grpc && self.listen.http.port() != 0 {
            found.add("listen.grpc", format!("{} is already taken by listen.http", self.listen.grpc));
        }
    }

    fn check_limits(&self, found: &mut Problems) {
        let limits = &self.limits;
        let bounds = [
            ("max_body_bytes", limits.max_body_bytes as u64),
            ("call_timeout_ms", limits.call_timeout_ms),
            ("max_in_flight_per_server", limits.max_in_flight_per_server as u64),
            ("max_in_flight_total", limits.max_in_flight_total as u64),
            ("max_connections", limits.max_connections as u64),
            ("max_sessions", limits.max_sessions as u64),
            ("page_size", limits.page_size as u64),
            ("idle_timeout_ms", limits.idle_timeout_ms),
            ("input_timeout_ms", limits.input_timeout_ms),
            ("resume_timeout_ms", limits.resume_timeout_ms),
            ("start_timeout_ms", limits.start_timeout_ms),
            ("drain_grace_ms", limits.drain_grace_ms),
            ("shutdown_timeout_ms", limits.shutdown_timeout_ms),
        ];
        for (key, _) in bounds.iter().filter(|(_, value)| *value == 0) {
            found.add(format!("limits.{key}"), "must be at least 1");
        }
        if !LEASE_TTL_MS.contains(&limits.lease_ttl_ms) {
            let (least, most) = (LEASE_TTL_MS.start(), LEASE_TTL_MS.end());
            found.add("limits.lease_ttl_ms", format!("must be from {least} to {most}"));
        }
    }

    fn check_ledger(&self, found: &mut Problems) {
        let ledger = &self.ledger;
        if ledger.store == LedgerStore::Jetstream && self.nats.is_none() {
            found.add("ledger.store", "\"jetstream\" needs a [nats] section with the address of a NATS server");
        }
        let is_local = self.has_local_ledger();
        match ledger.replicas {
            None => {}
            Some(_) if is_local => found.add("ledger.replicas", "is for a ledger in JetStream: this one is local"),
            Some(replicas) if !matches!(replicas, 1 | 3 | 5) => found.add("ledger.replicas", "must be 1, 3 or 5"),
            Some(_) => {}
        }
        for (key, value) in [("snapshot_every", ledger.snapshot_every), ("keep_entries", ledger.keep_entries)] {
            if value == Some(0) {
                found.add(format!("ledger.{key}"), "must be at least 1");
            }
        }
    }

    fn check_context(&self, found: &mut Problems) {
        let context = &self.context;
        let most = spanwire_context::Quotas::CEILING;
        for (key, value, most) in [
            ("max_value_bytes", context.max_value_bytes, most.value_bytes),
            ("max_keys", context.max_keys, most.keys),
            ("max_bytes", context.max_bytes, most.bytes),
            ("log_events", context.log_events, most.log_events),
        ] {
            if !(1..=most).contains(&value) {
                found.add(format!("context.{key}"), format!("must be from 1 to {most}"));
            }
        }
        if let Some(id) = self.servers.keys().find(|id| id.as_str() == CONTEXT_SERVER) {
            // Also where it is off: the other nodes have it.
            let what = "this id belongs to the shared context: choose another";
            found.add(format!("servers.{id}"), what);
        }
    }

    fn check_telemetry(&self, found: &mut Problems) {
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            found.add("telemetry.sample_ratio", "must be from 0.0 to 1.0");
        }
        if let Some(endpoint) = &self.telemetry.otlp_endpoint {
            let scheme = endpoint.split_once("://").map(|(scheme, _)| scheme);
            match (scheme, self.telemetry.otlp_protocol) {
                (Some("http" | "https"), _) => {}
                // As the OpenTelemetry standard has it, `host:port` will do for gRPC.
                (None, OtlpProtocol::Grpc) if endpoint.contains(':') => {}
                (_, OtlpProtocol::Grpc) => {
                    found.add("telemetry.otlp_endpoint", "must be http://, https:// or HOST:PORT")
                }
                (_, OtlpProtocol::Http) => found.add("telemetry.otlp_endpoint", "must begin with http:// or https://"),
            }
        }
    }

    fn check_principals(&self, found: &mut Problems) {
        let mut names = BTreeSet::new();
        let mut tokens = BTreeSet::new();
        for (n, principal) in self.principals.iter().enumerate() {
            let key = format!("principals[{n}]");
            if !names.insert(principal.name.as_str()) {
                found.add(&key, format!("there is already a principal \"{}\"", principal.name));
            }
            let token = principal.token.as_ref().map(super::Secret::expose).or(principal.token_sha256.as_deref());
            if token.is_some_and(|token| !tokens.insert(token.to_ascii_lowercase())) {
                found.add(&key, format!("\"{}\" has the token of another principal", principal.name));
            }
            check_principal(&key, principal, found);
        }
    }

    fn check_servers(&self, found: &mut Problems) {
        for (id, server) in &self.servers {
            if let Err(what) = server.target() {
                found.add(format!("servers.{id}"), what);
            }
            if server.placement == Place::Any && self.has_leases_apart() {
                found.add(format!("servers.{id}.placement"), ANY_NEEDS_JETSTREAM);
            }
            if server.max_in_flight == Some(0) {
                found.add(format!("servers.{id}.max_in_flight"), "must be at least 1");
            }
            if server.call_timeout_ms == Some(0) {
                found.add(format!("servers.{id}.call_timeout_ms"), "must be at least 1");
            }
        }
    }

    fn check_views(&self, found: &mut Problems) {
        for (name, view) in &self.views {
            let key = format!("views.{name}");
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || !name.chars().all(valid) {
                found.add(&key, "the name of a view is made of a-z, A-Z, 0-9, -, _ and .");
            }
            if self.servers.keys().any(|id| id.as_str() == name) {
                found.add(&key, "the server of this name already has a view of its own");
            }
            let mut targets = BTreeSet::new();
            for (from, to) in &view.rename {
                if !from.contains("__") {
                    found.add(format!("{key}.rename"), format!("\"{from}\" is not of the form SERVER__TOOL"));
                }
                if !targets.insert(to) {
                    found.add(format!("{key}.rename"), format!("two tools are renamed to \"{to}\""));
                }
            }
        }
    }
}

/// Problems found so far.
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem { key: key.into(), what: what.into() });
    }
}

fn check_principal(key: &str, principal: &PrincipalTable, found: &mut Problems) {
    let name = &principal.name;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() || name.len() > MAX_PRINCIPAL_NAME || !name.chars().all(valid) {
        found.add(format!("{key}.name"), "must be 1 to 64 of a-z, A-Z, 0-9, _, . and -");
    }
    if [spanwire_model::Principal::ANONYMOUS, spanwire_model::Principal::OPERATOR].contains(&name.as_str()) {
        found.add(format!("{key}.name"), format!("\"{name}\" is reserved"));
    }
    if let Err(what) = principal.grants() {
        found.add(format!("{key}.contexts"), what);
    }
    match (&principal.token, &principal.token_sha256) {
        (None, None) => found.add(key, "needs \"token\" or \"token_sha256\""),
        (Some(_), Some(_)) => found.add(key, "has both \"token\" and \"token_sha256\": keep one"),
        (Some(token), None) if token.expose().is_empty() => found.add(format!("{key}.token"), "is empty"),
        (Some(_), None) => {}
        (None, Some(digest)) => {
            if digest.len() != SHA256_HEX_DIGITS || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
                found.add(format!("{key}.token_sha256"), "must be 64 hex digits");
            }
        }
    }
}
