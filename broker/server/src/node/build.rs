//! Each room's configuration, from the one of the node.

use std::{io::IsTerminal, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use spanwire_backbone::{memory::Hub, nats};
use spanwire_http::server::SessionPlaces;
use spanwire_model::{Backbone, EraChoice, Error, ErrorKind, NodeId, Placement, Result, ServerId, ServerSpec, Target};
use spanwire_policy::{Policy, PrincipalConfig, TokenDigest};
use spanwire_telemetry::{OtlpConfig, Telemetry};
use tokio_util::sync::CancellationToken;

use super::connection;
use crate::config::{
    CONTEXT_SERVER, Config, LogFormat, OtlpProtocol, Prefix, StaleEntries, from_environment, interpolate,
};

/// Version of this software.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Telemetry, and where it is exported to.
pub(super) fn telemetry(config: &Config, node: &NodeId) -> anyhow::Result<(Telemetry, Option<String>)> {
    let section = &config.telemetry;
    let otlp = match &section.otlp_endpoint {
        Some(endpoint) => {
            let protocol = match section.otlp_protocol {
                OtlpProtocol::Grpc => spanwire_telemetry::OtlpProtocol::Grpc,
                OtlpProtocol::Http => spanwire_telemetry::OtlpProtocol::HttpProtobuf,
            };
            let headers = section.otlp_headers.iter().map(|(key, value)| (key.clone(), value.expose().to_owned()));
            Some(OtlpConfig { headers: headers.collect(), ..OtlpConfig::new(endpoint.as_str(), protocol) })
        }
        None => OtlpConfig::from_env()?,
    };
    let endpoint = otlp.as_ref().map(|otlp| otlp.endpoint.clone());
    let settings = spanwire_telemetry::Config {
        sample_ratio: section.sample_ratio,
        ring_traces: section.ring_traces,
        otlp,
        ..spanwire_telemetry::Config::new(node.clone())
    };
    let telemetry = Telemetry::start(settings)?;
    let format = match section.log_format {
        LogFormat::Text => spanwire_telemetry::LogFormat::Text,
        LogFormat::Json => spanwire_telemetry::LogFormat::Json,
        LogFormat::Auto if std::io::stderr().is_terminal() => spanwire_telemetry::LogFormat::Text,
        LogFormat::Auto => spanwire_telemetry::LogFormat::Json,
    };
    spanwire_telemetry::init_logging(format, &section.log_filter, Some(&telemetry));
    Ok((telemetry, endpoint))
}

pub(super) async fn backbone(config: &Config, node: &NodeId) -> anyhow::Result<Arc<dyn Backbone>> {
    let tenant = config.node.tenant.clone();
    let Some(section) = &config.nats else {
        let memory: Arc<dyn Backbone> =
            Hub::new(spanwire_backbone::memory::Config::default()).node(node.clone(), tenant);
        return Ok(memory);
    };
    let settings = nats::Config {
        max_message_bytes: message_limit(config),
        ..nats::Config::over(connection::settings(section, tenant, node))
    };
    let connected = nats::Nats::connect(settings).await.context("cannot use the NATS backbone")?;
    Ok(Arc::new(connected))
}

/// What an edge accepts, and room for the envelope.
pub(super) fn message_limit(config: &Config) -> usize {
    config.limits.max_body_bytes + 64 * 1024
}

/// How long a call that waits for its client's input is kept: at the edges, in the router and with the servers.
pub(super) fn input_timeout(config: &Config) -> Duration {
    Duration::from_millis(config.limits.input_timeout_ms)
}

/// How long a node of a cluster waits before it takes servers that others could run too: until it has heard of them.
const SETTLE: Duration = Duration::from_millis(1500);

pub(super) fn registry(config: &Config, node: &NodeId) -> spanwire_registry::Config {
    let start = Duration::from_millis(config.limits.start_timeout_ms);
    let mut registry = spanwire_registry::Config {
        connect_timeout: start,
        max_in_flight: config.limits.max_in_flight_per_server,
        version: VERSION.into(),
        lease_ttl: Duration::from_millis(config.limits.lease_ttl_ms),
        settle: if config.nats.is_some() { SETTLE } else { Duration::ZERO },
        owns_all: config.has_local_ledger(),
        reserved: CONTEXT_SERVER.parse().into_iter().collect(),
        ..spanwire_registry::Config::new(node.clone())
    };
    registry.list.timeout = registry.list.timeout.min(start);
    registry
}

/// The servers of the configuration that are enabled, and those of the broker's own.
pub(super) fn specs(config: &Config) -> anyhow::Result<Vec<ServerSpec>> {
    let enabled = config.servers.iter().filter(|(_, table)| table.enabled);
    let configured =
        enabled.map(|(id, table)| table.to_spec(id).map_err(|problem| anyhow::anyhow!("servers.{id}: {problem}")));
    configured.chain(builtin(config).transpose()).collect()
}

/// The shared context as a server.
fn builtin(config: &Config) -> anyhow::Result<Option<ServerSpec>> {
    if !(config.context.enabled && config.context.expose) {
        return Ok(None);
    }
    Ok(Some(ServerSpec {
        id: CONTEXT_SERVER.parse()?,
        target: Target::Builtin(CONTEXT_SERVER.into()),
        era: EraChoice::Auto,
        max_in_flight: None,
        call_timeout_ms: None,
        placement: Placement::Here,
        replicas: 1,
    }))
}

/// A stored specification with its `${VAR}` resolved.
pub(super) fn resolve(spec: &ServerSpec) -> Result<ServerSpec> {
    let id: &ServerId = &spec.id;
    let text = |value: &String| {
        interpolate(value, &from_environment)
            .map_err(|error| Error::new(ErrorKind::InvalidParams, format!("server \"{id}\": {error}")))
    };
    let mut spec = spec.clone();
    match &mut spec.target {
        Target::Stdio(target) => {
            target.command = text(&target.command)?;
            for value in target.args.iter_mut().chain(target.env.values_mut()).chain(target.cwd.iter_mut()) {
                *value = text(value)?;
            }
        }
        Target::Builtin(_) => {}
        Target::Http(target) => {
            target.url = text(&target.url)?;
            for value in target.headers.values_mut() {
                *value = text(value)?;
            }
        }
    }
    Ok(spec)
}

pub(super) fn policy(config: &Config) -> anyhow::Result<Policy> {
    if config.principals.is_empty() {
        return Ok(Policy::open());
    }
    let principals = config.principals.iter().map(|table| {
        let plain = table.token.iter().map(|token| Ok(TokenDigest::of(token.expose())));
        let digests = table.token_sha256.iter().map(|digest| digest.parse::<TokenDigest>());
        let tokens = plain.chain(digests).collect::<std::result::Result<_, _>>();
        Ok(PrincipalConfig {
            name: table.name.clone(),
            tokens: tokens.with_context(|| format!("principal \"{}\"", table.name))?,
            tools: table.tools.clone(),
            prompts: table.prompts.clone(),
            resources: table.resources.clone(),
            // The file says that no list means all; policy wants to be told.
            views: if table.views.is_empty() { vec!["*".to_owned()] } else { table.views.clone() },
        })
    });
    Ok(Policy::new(&principals.collect::<anyhow::Result<Vec<_>>>()?))
}

pub(super) fn router(config: &Config, node: &NodeId, seal_secret: Vec<u8>) -> spanwire_router::Config {
    let views = config.views.iter().map(|(name, view)| spanwire_catalog::ViewConfig {
        name: name.as_str().into(),
        servers: (!view.servers.is_empty()).then(|| view.servers.clone()),
        tools: (!view.tools.is_empty()).then(|| view.tools.clone()),
        rename: view.rename.clone(),
        prefix: match view.prefix {
            Prefix::Always => spanwire_catalog::Prefix::Always,
            Prefix::Never => spanwire_catalog::Prefix::Never,
        },
    });
    let stale = match config.catalog.stale {
        StaleEntries::Keep => spanwire_catalog::Stale::Keep,
        StaleEntries::Drop => spanwire_catalog::Stale::Drop,
    };
    spanwire_router::Config {
        node: node.clone(),
        catalog: spanwire_catalog::Config { views: views.collect(), stale, page_size: config.limits.page_size },
        max_in_flight: config.limits.max_in_flight_total,
        max_subscriptions: 100,
        seal_secret,
        input_timeout: input_timeout(config),
        version: VERSION.to_owned(),
    }
}

pub(super) fn edge(config: &Config, address: SocketAddr, edges: &CancellationToken) -> spanwire_http::server::Config {
    let mut edge = spanwire_http::server::Config {
        max_body_bytes: config.limits.max_body_bytes,
        default_call_timeout: Duration::from_millis(config.limits.call_timeout_ms),
        session_idle_timeout: Duration::from_millis(config.limits.idle_timeout_ms),
        input_timeout: input_timeout(config),
        resume_timeout: Duration::from_millis(config.limits.resume_timeout_ms),
        era: config.listen.era.into(),
        sessions: SessionPlaces::new(config.limits.max_sessions),
        shutdown: edges.clone(),
        ..spanwire_http::server::Config::default()
    };
    edge.allowed_hosts.push(address.ip().to_string());
    edge.allowed_hosts.extend(config.listen.allowed_hosts.iter().cloned());
    edge.allowed_origins.extend(config.listen.allowed_origins.iter().cloned());
    edge
}

pub(super) fn connections(config: &Config) -> spanwire_http::server::ConnectionLimits {
    spanwire_http::server::ConnectionLimits {
        max_connections: config.limits.max_connections,
        drain_timeout: Duration::from_millis(config.limits.shutdown_timeout_ms),
        ..spanwire_http::server::ConnectionLimits::default()
    }
}
