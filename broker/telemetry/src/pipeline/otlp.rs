//! Our records as the SDK's, and the exporter that sends them.

use std::{
    collections::HashMap,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind as OtelKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use tonic::{
    codegen::http::Uri,
    metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{Config, ConfigError, OtlpConfig, OtlpProtocol, SpanKind, SpanLink, SpanRecord, Value, names};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Path of traces over HTTP (OTLP specification, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";

/// What all spans of this node have in common. `OTEL_RESOURCE_ATTRIBUTES` may add to it.
pub(crate) fn resource(config: &Config) -> Resource {
    Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attributes([
            KeyValue::new(names::SERVICE_INSTANCE_ID, config.node.to_string()),
            KeyValue::new(names::SERVICE_VERSION, VERSION),
        ])
        .build()
}

/// An exporter to this collector. Nothing is connected yet. Must be called inside of a tokio runtime.
///
/// The channel and the client are built here, so that the endpoint is ours and no variable changes it.
pub(crate) fn exporter(config: &OtlpConfig, resource: &Resource) -> Result<SpanExporter, ConfigError> {
    let uri = http_uri(&config.endpoint)?;
    let failed = |error: opentelemetry_otlp::ExporterBuildError| ConfigError::Exporter(error.to_string());
    let mut exporter = match config.protocol {
        OtlpProtocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_timeout(config.timeout)
            .with_metadata(metadata(config)?)
            .with_channel(channel(config, &uri)?)
            .build()
            .map_err(failed)?,
        OtlpProtocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(config.timeout)
            .with_endpoint(traces_url(&config.endpoint, &uri))
            .with_headers(headers(config)?)
            .with_http_client(http_client(config.timeout, &uri)?)
            .build()
            .map_err(failed)?,
    };
    exporter.set_resource(resource);
    Ok(exporter)
}

fn http_uri(endpoint: &str) -> Result<Uri, ConfigError> {
    let uri = Uri::from_str(endpoint).map_err(|error| ConfigError::Endpoint(error.to_string()))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(ConfigError::Endpoint("use http://host:port or https://host:port".into())),
    }
}

fn traces_url(endpoint: &str, uri: &Uri) -> String {
    match uri.path() {
        "" | "/" => format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')),
        _ => endpoint.to_owned(),
    }
}

fn channel(config: &OtlpConfig, uri: &Uri) -> Result<Channel, ConfigError> {
    let endpoint = Endpoint::from(uri.clone()).timeout(config.timeout).connect_timeout(config.timeout);
    let endpoint = if uri.scheme_str() == Some("https") {
        let tls = ClientTlsConfig::new().with_enabled_roots();
        endpoint.tls_config(tls).map_err(|error| ConfigError::Exporter(error.to_string()))?
    } else {
        endpoint
    };
    Ok(endpoint.connect_lazy())
}

fn http_client(timeout: Duration, uri: &Uri) -> Result<reqwest::Client, ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // The client would panic.
        return Err(ConfigError::NoTlsProvider);
    }
    let client = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
    // Without TLS, a machine without root certificates will do.
    let plain = uri.scheme_str() == Some("http");
    let client = if plain { client.tls_certs_only(std::iter::empty()) } else { client };
    client.build().map_err(|error| ConfigError::Exporter(error.without_url().to_string()))
}

fn metadata(config: &OtlpConfig) -> Result<MetadataMap, ConfigError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &config.headers {
        let pair = (AsciiMetadataKey::from_str(&name.to_ascii_lowercase()), AsciiMetadataValue::from_str(value));
        let (Ok(key), Ok(value)) = pair else { return Err(ConfigError::Header(name.clone())) };
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn headers(config: &OtlpConfig) -> Result<HashMap<String, String>, ConfigError> {
    // The same check for both protocols: the exporter would leave out a bad header without a word.
    metadata(config)?;
    Ok(config.headers.clone().into_iter().collect())
}

/// A record as the exporter wants it.
pub(crate) fn span_data(record: &SpanRecord) -> SpanData {
    let mut links = SpanLinks::default();
    links.links = record.links.iter().map(link).collect();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(record.trace_id),
            SpanId::from(record.span_id),
            TraceFlags::SAMPLED,
            false,
            record.tracestate.as_deref().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
        ),
        parent_span_id: record.parent_span_id.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: record.remote_parent,
        span_kind: match record.kind {
            SpanKind::Server => OtelKind::Server,
            SpanKind::Client => OtelKind::Client,
            SpanKind::Producer => OtelKind::Producer,
            SpanKind::Consumer => OtelKind::Consumer,
            SpanKind::Internal => OtelKind::Internal,
        },
        name: record.name.clone(),
        start_time: time(record.start_unix_nanos),
        end_time: time(record.end_unix_nanos),
        attributes: record.attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), otel(value))).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: match &record.error {
            Some(error) => Status::error(error.clone()),
            None => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::builder("spanwire").with_version(VERSION).build(),
    }
}

/// A span of the SDK as a record; the node is added by the task. Its events are log lines already.
pub(crate) fn record(span: SpanData) -> SpanRecord {
    let state = span.span_context.trace_state().header();
    let mut record = SpanRecord {
        trace_id: u128::from_be_bytes(span.span_context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(span.span_context.span_id().to_bytes()),
        parent_span_id: (span.parent_span_id != SpanId::INVALID)
            .then(|| u64::from_be_bytes(span.parent_span_id.to_bytes())),
        remote_parent: span.parent_span_is_remote,
        name: span.name,
        kind: match span.span_kind {
            OtelKind::Server => SpanKind::Server,
            OtelKind::Client => SpanKind::Client,
            OtelKind::Producer => SpanKind::Producer,
            OtelKind::Consumer => SpanKind::Consumer,
            OtelKind::Internal => SpanKind::Internal,
        },
        start_unix_nanos: crate::tracer::unix_nanos(span.start_time),
        end_unix_nanos: crate::tracer::unix_nanos(span.end_time),
        attributes: Vec::with_capacity(span.attributes.len()),
        links: span.links.iter().take(SpanRecord::MAX_LINKS).map(link_back).collect(),
        error: match span.status {
            Status::Error { description } => Some(crate::record::cut(description).into_owned()),
            Status::Unset | Status::Ok => None,
        },
        node: String::new(),
        tracestate: (!state.is_empty()).then(|| state.into()),
    };
    for pair in span.attributes {
        record.set(pair.key.to_string(), ours(pair.value));
    }
    record
}

fn link(link: &SpanLink) -> Link {
    let (trace, span) = (TraceId::from(link.trace_id), SpanId::from(link.span_id));
    Link::with_context(SpanContext::new(trace, span, TraceFlags::default(), false, TraceState::default()))
}

fn link_back(link: &Link) -> SpanLink {
    SpanLink {
        trace_id: u128::from_be_bytes(link.span_context.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(link.span_context.span_id().to_bytes()),
    }
}

fn time(unix_nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_nanos)
}

fn otel(value: &Value) -> opentelemetry::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(value) => value.clone().into(),
    }
}

fn ours(value: opentelemetry::Value) -> Value {
    match value {
        opentelemetry::Value::Bool(value) => Value::Bool(value),
        opentelemetry::Value::I64(value) => Value::Int(value),
        opentelemetry::Value::F64(value) => Value::Float(value),
        other => Value::Text(other.to_string().into()),
    }
}
