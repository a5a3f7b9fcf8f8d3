//! The node as the control API sees it.

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use spanwire_admin::{
    Control, Listener, SpanKind, SpanRecord, Status, TelemetryStatus, Trace, TraceFilter, TraceMatch, TraceSummary,
};
use spanwire_context::Contexts;
use spanwire_http::server::SessionPlaces;
use spanwire_ledger::BackupError;
use spanwire_mcp::Json;
use spanwire_model::{
    AgentId, AgentPage, AgentQuery, Author, Backbone, Dispatch, EraChoice, Error, ErrorKind, Inventory, NodeId,
    Placement, Result, ServerId, ServerSpec,
};
use spanwire_registry::Handle as Registry;
use spanwire_router::Router;
use spanwire_telemetry::{SpanResult, Telemetry};
use tokio::sync::watch;

use super::{build::VERSION, durable::Durable};
use crate::config::{ANY_NEEDS_JETSTREAM, CONTEXT_SERVER};

pub(super) struct NodeControl {
    pub(super) node: NodeId,
    pub(super) started: Instant,
    pub(super) listeners: [(&'static str, SocketAddr, Option<EraChoice>); 2],
    pub(super) otlp_endpoint: Option<String>,
    pub(super) registry: Registry,
    pub(super) router: Router,
    pub(super) backbone: Arc<dyn Backbone>,
    pub(super) telemetry: Telemetry,
    pub(super) sessions: SessionPlaces,
    pub(super) durable: Arc<Durable>,
    pub(super) contexts: Option<Contexts>,
    /// Other nodes may be there that do not see the leases of this one.
    pub(super) leases_apart: bool,
}

#[async_trait]
impl Control for NodeControl {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn watch(&self) -> watch::Receiver<Arc<Inventory>> {
        self.registry.watch()
    }

    async fn add(&self, author: Author, spec: ServerSpec, home: Option<NodeId>, replace: bool) -> Result<()> {
        if spec.id.as_str() == CONTEXT_SERVER {
            // Also where it is off: the other nodes have it.
            let text = format!("the id \"{CONTEXT_SERVER}\" belongs to the shared context: choose another");
            return Err(Error::new(ErrorKind::InvalidParams, text));
        }
        if self.leases_apart && spec.placement == Placement::Any {
            return Err(Error::new(ErrorKind::InvalidParams, format!("placement {ANY_NEEDS_JETSTREAM}")));
        }
        self.registry.on_behalf(author).add(spec, home, replace).await
    }

    async fn remove(&self, author: Author, id: &ServerId) -> Result<bool> {
        match self.registry.on_behalf(author).remove(id).await {
            Err(error) if error.kind == ErrorKind::Conflict && id.as_str() == CONTEXT_SERVER => {
                let text = "server \"context\" is part of the broker: set context.enabled = false";
                Err(Error::new(ErrorKind::Conflict, text))
            }
            done => done,
        }
    }

    async fn add_agent(&self, author: Author, id: &AgentId, card: Json, replace: bool) -> Result<bool> {
        self.registry.on_behalf(author).add_agent(id, card, replace).await
    }

    async fn remove_agent(&self, author: Author, id: &AgentId) -> Result<bool> {
        self.registry.on_behalf(author).remove_agent(id).await
    }

    fn agents(&self, query: &AgentQuery) -> Result<AgentPage> {
        self.registry.agents(query)
    }

    fn dispatch(&self) -> Arc<dyn Dispatch> {
        Arc::new(self.router.clone())
    }

    fn contexts(&self) -> Option<Contexts> {
        self.contexts.clone()
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    fn traces(&self, filter: &TraceFilter, limit: usize) -> Vec<TraceSummary> {
        self.telemetry.ring().recent(limit, &ring_filter(filter)).into_iter().map(summary).collect()
    }

    async fn trace(&self, ids: RangeInclusive<u128>) -> TraceMatch {
        let all = self.telemetry.ring().recent(usize::MAX, &spanwire_telemetry::TraceFilter::default());
        let mut held = all.into_iter().map(|trace| trace.trace_id).filter(|id| ids.contains(id));
        let id = match (held.next(), held.next()) {
            (Some(_), Some(_)) => return TraceMatch::Many,
            (Some(id), None) => id,
            // A whole id may be known to another node only.
            (None, _) if ids.start() == ids.end() => *ids.start(),
            (None, _) => return TraceMatch::None,
        };
        let spans = self.router.trace(id).await;
        match spanwire_telemetry::TraceSummary::of(&spans) {
            Some(found) => {
                let spans = spans.into_iter().map(span).collect();
                TraceMatch::One(Box::new(Trace { summary: summary(found), spans }))
            }
            None => TraceMatch::None,
        }
    }

    fn follow(&self, filter: TraceFilter) -> BoxStream<'static, TraceSummary> {
        let receiver = self.telemetry.ring().follow();
        futures::stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(summary) => return Some((summary, receiver)),
                    // A slow reader misses some; that is its contract.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .map(summary)
        .filter(move |trace| std::future::ready(is_wanted(&filter, trace)))
        .boxed()
    }

    fn backup(&self) -> BoxStream<'static, Result<Bytes>> {
        let pieces = self.durable.backups.stream();
        let failed = |error: BackupError| Error::new(ErrorKind::Internal, "the backup failed").with_private(error);
        futures::stream::unfold(pieces, move |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((piece.map_err(failed), pieces))
        })
        .boxed()
    }

    fn status(&self) -> Status {
        let metrics = self.telemetry.metrics();
        Status {
            node: self.node.clone(),
            version: VERSION.to_owned(),
            uptime: self.started.elapsed(),
            settled: self.registry.is_settled(),
            listeners: self
                .listeners
                .iter()
                .map(|(name, address, era)| Listener {
                    name: (*name).to_owned(),
                    address: address.to_string(),
                    era: *era,
                })
                .collect(),
            backbone: self.backbone.describe(),
            backbone_connected: self.backbone.is_connected(),
            in_flight: self.router.in_flight() as u64,
            sessions: self.sessions.taken() as u64,
            telemetry: TelemetryStatus {
                endpoint: self.otlp_endpoint.clone(),
                exported: metrics.spans(SpanResult::Exported),
                failed: metrics.spans(SpanResult::Failed),
                dropped: metrics.spans(SpanResult::DroppedQueue),
                held: self.spans_held(),
            },
            ledger: self.durable.kept,
            shards: self.durable.ledger.status(),
            leases: self.durable.leases.watch().borrow().clone(),
            // What is wrong with the view shows in its shard.
            agents: self.registry.agent_count().unwrap_or_default(),
        }
    }

    fn metrics(&self) -> String {
        let metrics = self.telemetry.metrics();
        metrics.set_shards(&self.durable.ledger.status());
        metrics.set_sessions(self.sessions.taken());
        metrics.set_backbone_in_flight(self.backbone.in_flight().values().sum());
        metrics.encode_openmetrics()
    }
}

impl NodeControl {
    fn spans_held(&self) -> u64 {
        let all = self.telemetry.ring().recent(usize::MAX, &spanwire_telemetry::TraceFilter::default());
        all.iter().map(|trace| trace.spans as u64).sum()
    }
}

fn ring_filter(filter: &TraceFilter) -> spanwire_telemetry::TraceFilter {
    spanwire_telemetry::TraceFilter {
        text: filter.text.clone(),
        errors_only: filter.errors_only,
        min_duration: Some(filter.min_duration).filter(|duration| !duration.is_zero()),
    }
}

/// Whether a trace that just ended is followed. Only its summary is at hand.
fn is_wanted(filter: &TraceFilter, trace: &TraceSummary) -> bool {
    let nanos = trace.end_unix_nanos.saturating_sub(trace.start_unix_nanos);
    let texts = || trace.nodes.iter().chain(&trace.error).chain(std::iter::once(&trace.name));
    let said = |wanted: &String| texts().any(|text| text.to_lowercase().contains(&wanted.to_lowercase()));
    (!filter.errors_only || trace.error.is_some())
        && u128::from(nanos) >= filter.min_duration.as_nanos()
        && filter.text.as_ref().is_none_or(said)
}

fn summary(trace: spanwire_telemetry::TraceSummary) -> TraceSummary {
    TraceSummary {
        trace_id: trace.trace_id,
        name: trace.name,
        start_unix_nanos: trace.started_unix_nanos,
        end_unix_nanos: trace.started_unix_nanos + trace.duration_nanos,
        spans: u32::try_from(trace.spans).unwrap_or(u32::MAX),
        errors: u32::from(trace.error.is_some()),
        error: trace.error,
        nodes: trace.nodes,
        servers: Vec::new(),
    }
}

fn span(record: spanwire_telemetry::SpanRecord) -> SpanRecord {
    SpanRecord {
        trace_id: record.trace_id,
        span_id: record.span_id,
        parent: record.parent_span_id,
        name: record.name.into_owned(),
        kind: match record.kind {
            spanwire_telemetry::SpanKind::Internal => SpanKind::Internal,
            spanwire_telemetry::SpanKind::Server => SpanKind::Server,
            spanwire_telemetry::SpanKind::Client => SpanKind::Client,
            spanwire_telemetry::SpanKind::Producer => SpanKind::Producer,
            spanwire_telemetry::SpanKind::Consumer => SpanKind::Consumer,
        },
        start_unix_nanos: record.start_unix_nanos,
        end_unix_nanos: record.end_unix_nanos,
        attributes: record
            .attributes
            .into_iter()
            .map(|(key, value)| (key.into_owned(), serde_json::to_value(value).unwrap_or_default()))
            .collect(),
        error: record.error,
        node: record.node,
    }
}
