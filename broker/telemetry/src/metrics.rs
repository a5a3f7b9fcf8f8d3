//! The metrics of one node, scraped as OpenMetrics.

mod exposition;
mod process;
mod series;
mod shards;

use std::time::{Duration, SystemTime};

use prometheus_client::{
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use spanwire_mcp::{Method, Revision};
use spanwire_model::{ServerState, Shard, ShardStatus, TraceContext};

use self::{series::Series, shards::Shards};
use crate::names;

/// Every metric of one node. Recording is a lookup among known label values and an atomic or a short lock; a new
/// combination of labels allocates once. A metric has at most [`crate::Config::max_series`] of them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Series<Latency, 5>,
    upstream: Series<Latency, 5>,
    overhead: Histogram,
    wait: Series<Histogram, 1>,
    wire: Histogram,
    in_flight: Gauge,
    backbone_in_flight: Gauge,
    sessions: Gauge,
    servers: Series<Gauge, 1>,
    nodes: Gauge,
    restarts: Series<Counter, 1>,
    rejected: Series<Counter, 1>,
    retried: Series<Counter, 1>,
    held: Gauge,
    sick: Series<Counter, 1>,
    cancelled: Counter,
    ledger_rebuilds: Counter,
    context_operations: Series<Counter, 2>,
    shards: Shards,
    spans: [Counter; SpanResult::ALL.len()],
    queue: Gauge,
    last_export: Gauge,
}

/// What a call is counted under. Names come from the catalog, so that a caller cannot make them up.
#[derive(Debug, Clone, Copy)]
pub struct CallLabels<'a> {
    /// The method; one that no revision knows counts as `_other`.
    pub method: &'a str,
    /// The tool, by its exposed name, once it was found in the catalog.
    pub tool: Option<&'a str>,
    /// The server that it was routed to.
    pub server: Option<&'a str>,
    /// [`crate::error_type`] when it failed.
    pub error_type: Option<&'a str>,
    /// The revision spoken with the peer.
    pub revision: Revision,
}

/// What became of an ended span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanResult {
    /// The collector took it.
    Exported,
    /// The collector did not take it.
    Failed,
    /// There was no place left to wait.
    DroppedQueue,
    /// It was still waiting when the node stopped.
    LostAtShutdown,
}

/// Something running: a gauge is one higher while this lives.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub struct InFlight(Gauge);

/// The trace of a call that a bucket points to.
type Exemplar = [(&'static str, String); 2];
type Latency = HistogramWithExemplars<Exemplar>;

/// Buckets of the MCP duration metrics, in seconds (semantic conventions for MCP, "Metrics").
const OPERATION_BUCKETS: [f64; 14] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Buckets of what the broker adds, in seconds: the ones above begin where it should end.
const OVERHEAD_BUCKETS: [f64; 14] =
    [0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0];
/// Buckets of waiting and of the wire, in seconds.
const HOP_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

fn latency() -> Latency {
    HistogramWithExemplars::new(OPERATION_BUCKETS.into_iter())
}

impl Metrics {
    /// Metrics with at most this many series each.
    pub fn new(max_series: usize) -> Self {
        const CALL: [&str; 5] = [
            names::LABEL_METHOD,
            names::LABEL_TOOL,
            names::LABEL_SERVER,
            names::LABEL_ERROR_TYPE,
            names::LABEL_REVISION,
        ];
        let results = Series::<Counter, 1>::new([names::LABEL_RESULT], max_series, Counter::default);
        let spans = SpanResult::ALL.map(|result| results.get([result.as_str()]));
        let servers = Series::new([names::LABEL_STATE], max_series, Gauge::default);
        ALL_STATES.into_iter().for_each(|state| drop(servers.get([state.as_str()])));
        let mut metrics = Self {
            registry: Registry::default(),
            calls: Series::new(CALL, max_series, latency),
            upstream: Series::new(CALL, max_series, latency),
            overhead: Histogram::new(OVERHEAD_BUCKETS),
            wait: Series::new([names::LABEL_SERVER], max_series, || Histogram::new(HOP_BUCKETS)),
            wire: Histogram::new(HOP_BUCKETS),
            in_flight: Gauge::default(),
            backbone_in_flight: Gauge::default(),
            sessions: Gauge::default(),
            servers,
            nodes: Gauge::default(),
            restarts: Series::new([names::LABEL_SERVER], max_series, Counter::default),
            rejected: Series::new([names::LABEL_REASON], max_series, Counter::default),
            retried: Series::new([names::LABEL_REASON], max_series, Counter::default),
            held: Gauge::default(),
            sick: Series::new([names::LABEL_SERVER], max_series, Counter::default),
            cancelled: Counter::default(),
            ledger_rebuilds: Counter::default(),
            context_operations: Series::new(
                [names::LABEL_OPERATION, names::LABEL_OUTCOME],
                max_series,
                Counter::default,
            ),
            shards: Shards::new(max_series),
            spans,
            queue: Gauge::default(),
            last_export: Gauge::default(),
        };
        metrics.register(results);
        metrics
    }

    /// A call has its outcome. `total` is the caller's time; a sampled trace becomes the bucket's exemplar.
    pub fn call_finished(&self, labels: CallLabels<'_>, total: Duration, trace: Option<&TraceContext>) {
        observe(&self.calls, labels, total, trace);
    }

    /// A server has answered, in this time.
    pub fn upstream_finished(&self, labels: CallLabels<'_>, execute: Duration, trace: Option<&TraceContext>) {
        observe(&self.upstream, labels, execute, trace);
    }

    /// What of a call's time was the broker's own.
    pub fn overhead(&self, added: Duration) {
        self.overhead.observe(added.as_secs_f64());
    }

    /// How long a call waited for a free place at a server.
    pub fn wait(&self, server: &str, waited: Duration) {
        self.wait.with([server], |histogram| histogram.observe(waited.as_secs_f64()));
    }

    /// How long a call was between nodes, both ways.
    pub fn wire(&self, travelled: Duration) {
        self.wire.observe(travelled.as_secs_f64());
    }

    /// A call runs until the guard is dropped.
    pub fn in_flight(&self) -> InFlight {
        InFlight::new(&self.in_flight)
    }

    /// How many legacy sessions are open.
    pub fn set_sessions(&self, sessions: usize) {
        self.sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
    }

    /// How many requests are on the backbone, sent by this node or handled by it.
    pub fn set_backbone_in_flight(&self, requests: u64) {
        self.backbone_in_flight.set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// How many servers of this node are in each state; states not named have none.
    pub fn set_servers(&self, states: impl IntoIterator<Item = ServerState>) {
        let mut counts = [0; ALL_STATES.len()];
        for state in states {
            if let Some(index) = ALL_STATES.iter().position(|other| *other == state) {
                counts[index] += 1;
            }
        }
        for (state, count) in ALL_STATES.into_iter().zip(counts) {
            self.servers.with([state.as_str()], |gauge| gauge.set(count));
        }
    }

    /// How many nodes are seen, this one included.
    pub fn set_nodes(&self, nodes: usize) {
        self.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// How the shards of the ledger are on this node.
    pub fn set_shards(&self, shards: &[ShardStatus]) {
        self.shards.set(shards);
    }

    /// A command was appended here, or not, with this outcome: `applied`, a refusal's reason, or an error kind's name.
    pub fn ledger_appended(&self, shard: Shard, outcome: &str, took: Duration) {
        self.shards.appended(shard, outcome, took);
    }

    /// A server was started again.
    pub fn server_restarted(&self, server: &str) {
        self.restarts.with([server], |counter| counter.inc());
    }

    /// A call was refused before it was forwarded; the reason is an error kind's name.
    pub fn call_rejected(&self, reason: &'static str) {
        self.rejected.with([reason], |counter| counter.inc());
    }

    /// A call is tried on another replica; the reason is the kind of the error before.
    pub fn call_retried(&self, reason: &'static str) {
        self.retried.with([reason], |counter| counter.inc());
    }

    /// A call waits for its server to be on some node again, until the guard is dropped.
    pub fn held(&self) -> InFlight {
        InFlight::new(&self.held)
    }

    /// A replica of a server was found sick.
    pub fn replica_sick(&self, server: &str) {
        self.sick.with([server], |counter| counter.inc());
    }

    /// The caller went away.
    pub fn call_cancelled(&self) {
        self.cancelled.inc();
    }

    /// The view of a shard did not agree with its log, and is made anew.
    pub fn ledger_rebuilt(&self) {
        self.ledger_rebuilds.inc();
    }

    /// A change of the shared context was wanted; `outcome` is `done` or an error kind's name.
    pub fn context_operation(&self, operation: &'static str, outcome: &str) {
        self.context_operations.with([operation, outcome], |counter| counter.inc());
    }

    /// How many spans ended like this so far.
    pub fn spans(&self, result: SpanResult) -> u64 {
        self.spans[result as usize].get()
    }

    /// When spans were last exported, in seconds of the Unix epoch; `None` for never.
    pub fn last_export_unix_seconds(&self) -> Option<i64> {
        Some(self.last_export.get()).filter(|seconds| *seconds > 0)
    }

    pub(crate) fn spans_done(&self, result: SpanResult, count: usize) {
        self.spans[result as usize].inc_by(count as u64);
    }

    pub(crate) fn span_queued(&self) {
        self.queue.inc();
    }

    pub(crate) fn span_unqueued(&self, count: usize) {
        self.queue.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn export_succeeded(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_export.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }
}

fn observe(series: &Series<Latency, 5>, labels: CallLabels<'_>, duration: Duration, trace: Option<&TraceContext>) {
    let exemplar = trace
        .filter(|trace| trace.sampled)
        .map(|trace| [("trace_id", trace.trace_id_hex()), ("span_id", format!("{:016x}", trace.span_id))]);
    let unknown = matches!(Method::from(labels.method), Method::Other(_));
    let method = if unknown { names::OTHER } else { labels.method };
    let values = [
        method,
        labels.tool.unwrap_or_default(),
        labels.server.unwrap_or_default(),
        labels.error_type.unwrap_or_default(),
        labels.revision.as_str(),
    ];
    series.with(values, |histogram| histogram.observe(duration.as_secs_f64(), exemplar, None));
}

const ALL_STATES: [ServerState; 5] =
    [ServerState::Starting, ServerState::Ready, ServerState::Degraded, ServerState::Down, ServerState::Stopped];

impl SpanResult {
    /// Every result, in the order of the variants.
    const ALL: [Self; 4] = [Self::Exported, Self::Failed, Self::DroppedQueue, Self::LostAtShutdown];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Failed => "failed",
            Self::DroppedQueue => "dropped_queue",
            Self::LostAtShutdown => "lost_at_shutdown",
        }
    }
}

impl InFlight {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
