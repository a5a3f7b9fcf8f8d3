//! What telemetry is told to do, by the configuration file or by the standard variables.

use std::{collections::BTreeMap, fmt, time::Duration};

use percent_encoding::percent_decode_str;
use spanwire_model::NodeId;

/// How the spans and metrics of one node are made and where they go.
#[derive(Debug, Clone)]
pub struct Config {
    /// `service.name` of the resource.
    pub service_name: String,
    /// This node: `service.instance.id` of the resource, and the node of every record.
    pub node: NodeId,
    /// Which part of the traces that begin here is recorded, 0 to 1, decided by trace id so that nodes agree.
    pub sample_ratio: f64,
    /// True: a caller's sampled flag is obeyed. False: the ratio decides on callers' traces too, since a client that
    /// always sends "not sampled" would make itself invisible. The flag of another node is obeyed either way.
    pub respect_parent: bool,
    /// How many traces the ring keeps.
    pub ring_traces: usize,
    /// How many ended spans may wait for the export; as many again may wait to be taken in. Further ones are dropped.
    pub queue_spans: usize,
    /// How many series one metric may have; label values beyond that are counted as `_other`.
    pub max_series: usize,
    /// Where spans are exported to; `None` keeps them in the ring only.
    pub otlp: Option<OtlpConfig>,
}

/// An OTLP collector.
#[derive(Clone)]
pub struct OtlpConfig {
    /// `http(s)://host:port`. Over HTTP, an endpoint without a path gets `/v1/traces`.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Headers of each request; often secrets. The exporter adds those of `OTEL_EXPORTER_OTLP_HEADERS` on its own, and
    /// those win.
    pub headers: BTreeMap<String, String>,
    /// Longest that one attempt takes; retries of a batch stop when this much time has passed in all.
    pub timeout: Duration,
}

/// How an OTLP collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// OTLP/gRPC, by convention on port 4317.
    Grpc,
    /// OTLP/HTTP with protobuf bodies, by convention on port 4318.
    HttpProtobuf,
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The ratio is no ratio.
    #[error("sample ratio {0} is not between 0 and 1")]
    SampleRatio(f64),
    /// A bound is zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The endpoint is not an address.
    #[error("otlp endpoint is not usable: {0}")]
    Endpoint(String),
    /// A header is not one. The value is not shown.
    #[error("otlp header \"{0}\" is not a valid header")]
    Header(String),
    /// A standard variable holds something else than it should. The value is not shown.
    #[error("{variable} is not valid: {rule}")]
    Variable {
        /// Its name.
        variable: String,
        /// What it may hold.
        rule: &'static str,
    },
    /// The export needs TLS and no provider was installed.
    #[error("no tls provider is installed")]
    NoTlsProvider,
    /// The export task needs a tokio runtime around it.
    #[error("telemetry was started outside of a tokio runtime")]
    NoRuntime,
    /// The exporter could not be built.
    #[error("otlp exporter: {0}")]
    Exporter(String),
}

impl Config {
    /// Default of [`Config::ring_traces`].
    pub const RING_TRACES: usize = 512;
    /// Default of [`Config::queue_spans`]: at four spans a call and 1000 calls a second, four seconds of outage.
    pub const QUEUE_SPANS: usize = 16_384;
    /// Default of [`Config::max_series`].
    pub const MAX_SERIES: usize = 2_000;

    /// The defaults: everything is recorded, callers' flags are obeyed, nothing is exported.
    pub fn new(node: NodeId) -> Self {
        Self {
            service_name: "spanwire".into(),
            node,
            sample_ratio: 1.0,
            respect_parent: true,
            ring_traces: Self::RING_TRACES,
            queue_spans: Self::QUEUE_SPANS,
            max_series: Self::MAX_SERIES,
            otlp: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(ConfigError::SampleRatio(self.sample_ratio));
        }
        let bounds =
            [("ring_traces", self.ring_traces), ("queue_spans", self.queue_spans), ("max_series", self.max_series)];
        match bounds.into_iter().find(|(_, bound)| *bound == 0) {
            Some((name, _)) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

impl OtlpConfig {
    /// Default of [`OtlpConfig::timeout`] (OTLP exporter specification, "Configuration Options").
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// A collector with default time-out and no headers.
    pub fn new(endpoint: impl Into<String>, protocol: OtlpProtocol) -> Self {
        Self { endpoint: endpoint.into(), protocol, headers: BTreeMap::new(), timeout: Self::TIMEOUT }
    }

    /// What the standard variables ask for: `OTEL_EXPORTER_OTLP_ENDPOINT`, `_PROTOCOL`, `_HEADERS`, `_TIMEOUT`,
    /// `_INSECURE` (gRPC without a scheme) and their `_TRACES_` forms, which win. `None` without an endpoint, with `OTEL_SDK_DISABLED=true` or with
    /// `OTEL_TRACES_EXPORTER=none` (OTLP exporter specification, "Configuration Options").
    pub fn from_env() -> Result<Option<Self>, ConfigError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(read: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ConfigError> {
        let get = |name: &str| read(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let either = |what: &str| {
            ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
                .into_iter()
                .find_map(|prefix| get(&format!("{prefix}{what}")).map(|value| (format!("{prefix}{what}"), value)))
        };
        let is = |name: &str, value: &str| get(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let Some((endpoint_variable, endpoint)) = either("ENDPOINT") else { return Ok(None) };
        let protocol = match either("PROTOCOL") {
            None => OtlpProtocol::HttpProtobuf,
            Some((_, value)) if value.eq_ignore_ascii_case("http/protobuf") => OtlpProtocol::HttpProtobuf,
            Some((_, value)) if value.eq_ignore_ascii_case("grpc") => OtlpProtocol::Grpc,
            Some((variable, _)) => {
                return Err(ConfigError::Variable { variable, rule: "use grpc or http/protobuf" });
            }
        };
        let general = endpoint_variable == "OTEL_EXPORTER_OTLP_ENDPOINT";
        let endpoint = match protocol {
            OtlpProtocol::HttpProtobuf if general => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            OtlpProtocol::Grpc if !endpoint.contains("://") => {
                let insecure = either("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
                format!("{}://{endpoint}", if insecure { "http" } else { "https" })
            }
            OtlpProtocol::HttpProtobuf | OtlpProtocol::Grpc => endpoint,
        };
        let headers = either("HEADERS").map(|(variable, list)| read_headers(variable, &list)).transpose()?;
        let timeout = either("TIMEOUT")
            .map(|(variable, value)| {
                let rule = "use a number of milliseconds";
                value.parse().map(Duration::from_millis).map_err(|_| ConfigError::Variable { variable, rule })
            })
            .transpose()?;
        Ok(Some(Self {
            endpoint,
            protocol,
            headers: headers.unwrap_or_default(),
            timeout: timeout.unwrap_or(Self::TIMEOUT),
        }))
    }
}

/// Reads `key=value,key=value` with percent-encoded values.
fn read_headers(variable: String, list: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    list.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            Some((key.trim().to_owned(), value.into_owned()))
        })
        .collect::<Option<_>>()
        .ok_or(ConfigError::Variable { variable, rule: "use key=value pairs with commas between" })
}

impl fmt::Debug for OtlpConfig {
    /// Leaves out the values of headers, and of the endpoint what might be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.endpoint.split_once("://").unwrap_or(("", &self.endpoint));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.split(['?', '#']).next().unwrap_or_default();
        f.debug_struct("OtlpConfig")
            .field("endpoint", &format_args!("{scheme}://{host}"))
            .field("protocol", &self.protocol)
            .field("headers", &format_args!("{} not shown", self.headers.len()))
            .field("timeout", &self.timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests;
