//! Names and help of every metric, and the text that is scraped.

use prometheus_client::{
    encoding::text,
    metrics::counter::Counter,
    registry::{Metric, Registry, Unit},
};

use super::{Metrics, process::Process, series::Series};
use crate::names;

impl Metrics {
    /// Media type of [`Self::encode_openmetrics`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Every metric as OpenMetrics text 1.0.0, with exemplars.
    pub fn encode_openmetrics(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail; what was written so far is still worth having.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    pub(super) fn register(&mut self, results: Series<Counter, 1>) {
        let mut registry = std::mem::take(&mut self.registry);
        let r = &mut registry;
        add(
            r,
            names::METRIC_SERVER_OPERATION_DURATION,
            "Time from a request to its outcome, as the caller saw it",
            self.calls.clone(),
        );
        add(r, names::METRIC_CLIENT_OPERATION_DURATION, "Time that a server took to answer", self.upstream.clone());
        add(r, names::METRIC_BROKER_OVERHEAD, "Time of a call that was the broker's own", self.overhead.clone());
        add(r, names::METRIC_CALL_WAIT, "Time that a call waited for a free place at a server", self.wait.clone());
        add(r, names::METRIC_CALL_WIRE, "Time that a call spent between nodes", self.wire.clone());
        add(r, names::METRIC_CALLS_IN_FLIGHT, "Calls that run now", self.in_flight.clone());
        add(
            r,
            names::METRIC_BACKBONE_IN_FLIGHT,
            "Requests that are on the backbone now",
            self.backbone_in_flight.clone(),
        );
        add(r, names::METRIC_SESSIONS, "Open sessions of legacy clients", self.sessions.clone());
        add(r, names::METRIC_SERVERS, "Servers of this node by state", self.servers.clone());
        add(r, names::METRIC_NODES, "Nodes that are seen, this one included", self.nodes.clone());
        add(r, names::METRIC_SERVER_RESTARTS, "Times that a server was started again", self.restarts.clone());
        add(r, names::METRIC_CALLS_REJECTED, "Calls refused before they were forwarded", self.rejected.clone());
        add(r, names::METRIC_CALLS_RETRIED, "Calls tried on another replica", self.retried.clone());
        add(r, names::METRIC_CALLS_HELD, "Calls that wait for their server to be on a node", self.held.clone());
        add(r, names::METRIC_REPLICAS_SICK, "Times that replicas were found sick", self.sick.clone());
        add(r, names::METRIC_CALLS_CANCELLED, "Calls whose caller went away", self.cancelled.clone());
        let rebuilds = self.ledger_rebuilds.clone();
        add(r, names::METRIC_LEDGER_REBUILDS, "Views made anew because they did not agree with their log", rebuilds);
        let operations = self.context_operations.clone();
        add(r, names::METRIC_CONTEXT_OPERATIONS, "Changes of the shared context that were wanted here", operations);
        self.shards.register(r);
        add(r, names::METRIC_TELEMETRY_SPANS, "Ended spans by what became of them", results);
        add(r, names::METRIC_TELEMETRY_QUEUE, "Spans that wait to be exported", self.queue.clone());
        add(r, names::METRIC_TELEMETRY_LAST_EXPORT, "When spans were last exported", self.last_export.clone());
        r.register_collector(Box::new(Process));
        self.registry = registry;
    }
}

/// Registers under the name that is scraped: the library adds the suffix of units and counters on its own.
pub(super) fn add(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    if let Some(stem) = name.strip_suffix("_seconds") {
        registry.register_with_unit(stem, help, Unit::Seconds, metric);
    } else {
        registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric);
    }
}
