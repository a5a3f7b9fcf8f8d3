//! The sections about the node itself.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Era, Secret};

/// Where clients reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Address and port of HTTP: `/mcp`, `/sse`, `/metrics`, `/healthz`. Port 0 takes a free one.
    #[schemars(with = "String")]
    pub(crate) http: SocketAddr,
    /// Address and port of gRPC, which the command line uses. Port 0 takes a free one.
    #[schemars(with = "String")]
    pub(crate) grpc: SocketAddr,
    /// Which protocol eras clients may speak at `/mcp` and `/sse`. With `modern` there are no sessions and no `/sse`; with `legacy` a modern request
    /// is refused as an older server would, so that a client of both eras falls back.
    pub(crate) era: Era,
    /// Lets the node listen beyond loopback without any principal. Everyone who reaches the port may then call every tool.
    pub(crate) allow_unauthenticated_remote: bool,
    /// Values of the header `Origin` that browsers may send, such as `https://app.example.com`. Loopback origins are
    /// always allowed.
    pub(crate) allowed_origins: Vec<String>,
    /// Values of the header `Host` that are accepted, besides the addresses listened on and `localhost`. `*` allows all.
    pub(crate) allowed_hosts: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 7401)),
            era: Era::Auto,
            allow_unauthenticated_remote: false,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
        }
    }
}

/// Bounds on sizes, counts and times. All of them are at least 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Largest request or response body, in bytes.
    #[schemars(range(min = 1))]
    pub(crate) max_body_bytes: usize,
    /// Longest that one call may take, in milliseconds. A server's own `call_timeout_ms` can only shorten it.
    #[schemars(range(min = 1))]
    pub(crate) call_timeout_ms: u64,
    /// Calls that one server may have in flight; further ones wait. A server's own `max_in_flight` goes before it.
    #[schemars(range(min = 1))]
    pub(crate) max_in_flight_per_server: usize,
    /// Calls that this node may have in flight; further ones are refused as overloaded.
    #[schemars(range(min = 1))]
    pub(crate) max_in_flight_total: usize,
    /// Client connections at the HTTP edge; further ones wait to be accepted.
    #[schemars(range(min = 1))]
    pub(crate) max_connections: usize,
    /// Sessions of clients of the older era; further ones are refused.
    #[schemars(range(min = 1))]
    pub(crate) max_sessions: usize,
    /// Entries in one page of a list.
    #[schemars(range(min = 1))]
    pub(crate) page_size: usize,
    /// How long a session or a connection may be silent before it is closed, in milliseconds.
    #[schemars(range(min = 1))]
    pub(crate) idle_timeout_ms: u64,
    /// How long a call that waits for its client's input is kept, in milliseconds.
    #[schemars(range(min = 1))]
    pub(crate) input_timeout_ms: u64,
    /// How long a request of the older era goes on after its client's connection broke, in milliseconds: until then the client may
    /// come back and read on.
    #[schemars(range(min = 1))]
    pub(crate) resume_timeout_ms: u64,
    /// How long a server may take to start and list what it offers, in milliseconds.
    #[schemars(range(min = 1))]
    pub(crate) start_timeout_ms: u64,
    /// How long a node that is told to stop goes on taking calls, in milliseconds: the time in which load balancers and the other nodes
    /// notice that it is about to leave. `/readyz` answers 503 from the beginning.
    #[schemars(range(min = 1))]
    pub(crate) drain_grace_ms: u64,
    /// How long running calls may take to finish when the node stops, in milliseconds.
    #[schemars(range(min = 1))]
    pub(crate) shutdown_timeout_ms: u64,
    /// How long a server with `placement = "any"` stays with this node after the node has fallen silent, in milliseconds; then another
    /// node may start it. Also how long the node may be without JetStream before it stops such a server: when the leader of the leases
    /// dies, an election takes 4 to 9 seconds. Calls wait for a server that moves, 20 seconds at most.
    #[schemars(range(min = 3_000, max = 60_000))]
    pub(crate) lease_ttl_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 * 1024 * 1024,
            call_timeout_ms: 60_000,
            max_in_flight_per_server: 64,
            max_in_flight_total: 1_024,
            max_connections: 4_096,
            max_sessions: 1_024,
            page_size: 200,
            idle_timeout_ms: 1_800_000,
            input_timeout_ms: 600_000,
            resume_timeout_ms: 60_000,
            start_timeout_ms: 30_000,
            drain_grace_ms: 1_000,
            shutdown_timeout_ms: 10_000,
            lease_ttl_ms: 6_000,
        }
    }
}

/// Traces and logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Where spans are sent: `http://collector:4317` for gRPC, `http://collector:4318` for HTTP. Default: nowhere.
    pub(crate) otlp_endpoint: Option<String>,
    /// How spans are sent.
    pub(crate) otlp_protocol: OtlpProtocol,
    /// Headers sent with the spans, such as an API key. `${VAR}` is resolved.
    pub(crate) otlp_headers: BTreeMap<String, Secret>,
    /// Share of new traces that are recorded, 0.0 to 1.0. A caller's own decision goes before it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) sample_ratio: f64,
    /// Form of the log on stderr.
    pub(crate) log_format: LogFormat,
    /// What is logged: `warn`, `info`, `debug`, or per module as in `info,spanwire_router=debug`.
    pub(crate) log_filter: String,
    /// Traces that are kept in memory for `spanwire trace`.
    #[schemars(range(min = 1))]
    pub(crate) ring_traces: usize,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::default(),
            otlp_headers: BTreeMap::new(),
            sample_ratio: 1.0,
            log_format: LogFormat::default(),
            log_filter: "info".to_owned(),
            ring_traces: 512,
        }
    }
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtlpProtocol {
    /// OTLP over gRPC.
    #[default]
    Grpc,
    /// OTLP over HTTP with protobuf bodies.
    Http,
}

/// Form of the log on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How the lists of many servers become one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Catalog {
    /// What happens to the entries of a server that is down.
    pub(crate) stale: StaleEntries,
}

/// What happens to the entries of a server that is down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StaleEntries {
    /// They stay listed; calls to them fail until the server is back.
    #[default]
    Keep,
    /// They are not listed until the server is back.
    Drop,
}
