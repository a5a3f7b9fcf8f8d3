//! The traces of the last minutes, in memory, for the web page and the command line.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{SpanKind, SpanRecord, Value, names};

/// The most recent traces of this node. Bounded in traces, and in spans of one trace; the oldest trace goes first.
#[derive(Debug)]
pub struct Ring {
    max_traces: usize,
    state: Mutex<State>,
    ended: broadcast::Sender<TraceSummary>,
}

/// Which traces are wanted; the default is all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceFilter {
    /// In the trace id, a name, an error, a node or a text attribute of any span; upper and lower case are the same.
    pub text: Option<String>,
    /// Only traces with an error.
    pub errors_only: bool,
    /// Only traces that took at least this long.
    pub min_duration: Option<Duration>,
}

/// A trace in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// The trace.
    #[serde(with = "crate::record::trace_id_hex")]
    pub trace_id: u128,
    /// The name of its first root here.
    pub name: String,
    /// When its first span began, in nanoseconds of the Unix epoch.
    pub started_unix_nanos: u64,
    /// From there to the end of its last span.
    pub duration_nanos: u64,
    /// How many spans ended, kept or not.
    pub spans: usize,
    /// What went wrong: the root's error, its `error.type` when the fault was the caller's, or the first error below.
    pub error: Option<String>,
    /// The nodes that recorded it, sorted.
    pub nodes: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    traces: HashMap<u128, Trace>,
    /// Oldest first.
    order: VecDeque<u128>,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Trace {
    spans: Vec<Arc<SpanRecord>>,
    /// How many more ended than are kept.
    beyond: usize,
    bytes: usize,
}

impl Ring {
    /// Most spans kept of one trace; further ones are only counted.
    pub const MAX_SPANS: usize = 256;
    /// About how much memory the ring takes at most; the oldest trace goes first here, too.
    pub const MAX_BYTES: usize = 64 << 20;
    /// How many summaries a slow follower may be behind.
    pub const FOLLOW_QUEUE: usize = 256;

    /// A ring of this many traces.
    pub fn new(max_traces: usize) -> Self {
        Self {
            max_traces: max_traces.max(1),
            state: Mutex::default(),
            ended: broadcast::Sender::new(Self::FOLLOW_QUEUE),
        }
    }

    /// The newest traces that pass, newest first.
    pub fn recent(&self, limit: usize, filter: &TraceFilter) -> Vec<TraceSummary> {
        let text = filter.text.as_deref().map(str::to_lowercase).filter(|text| !text.is_empty());
        let ids: Vec<u128> = self.lock().order.iter().rev().copied().collect();
        // One trace at a time is copied out, as references: a search must not hold up those who end spans.
        ids.iter()
            .filter_map(|id| self.lock().traces.get(id).cloned())
            .filter(|trace| text.as_deref().is_none_or(|text| trace.contains(text)))
            .filter_map(|trace| trace.summary())
            .filter(|summary| !filter.errors_only || summary.error.is_some())
            .filter(|summary| {
                filter.min_duration.is_none_or(|min| u128::from(summary.duration_nanos) >= min.as_nanos())
            })
            .take(limit)
            .collect()
    }

    /// The spans of one trace that are kept here, in the order of their beginnings.
    pub fn trace(&self, trace_id: u128) -> Option<Vec<SpanRecord>> {
        let spans = self.lock().traces.get(&trace_id)?.spans.clone();
        let mut spans: Vec<SpanRecord> = spans.iter().map(|span| SpanRecord::clone(span)).collect();
        spans.sort_by_key(|span| (span.start_unix_nanos, span.span_id));
        Some(spans)
    }

    /// A summary for each trace whose SERVER root on this node ends from now on. A follower that is too slow is told
    /// how many it missed.
    pub fn follow(&self) -> broadcast::Receiver<TraceSummary> {
        self.ended.subscribe()
    }

    pub(crate) fn push(&self, record: Arc<SpanRecord>) {
        let ended = record.kind == SpanKind::Server && record.is_local_root() && self.ended.receiver_count() > 0;
        let summary = self.insert(record, ended);
        if let Some(summary) = summary {
            // Fails only when the last follower has just left.
            let _ = self.ended.send(summary);
        }
    }

    fn insert(&self, record: Arc<SpanRecord>, summarise: bool) -> Option<TraceSummary> {
        let mut state = self.lock();
        let id = record.trace_id;
        if !state.traces.contains_key(&id) {
            state.order.push_back(id);
        }
        let trace = state.traces.entry(id).or_default();
        if trace.spans.len() < Self::MAX_SPANS {
            let bytes = record.about_bytes();
            trace.bytes += bytes;
            trace.spans.push(record);
            state.bytes += bytes;
        } else {
            trace.beyond += 1;
        }
        state.shrink(self.max_traces);
        let trace = state.traces.get(&id)?;
        summarise.then(|| trace.summary()).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the oldest traces until the rest fits; the newest stays.
    fn shrink(&mut self, max_traces: usize) {
        while self.order.len() > 1 && (self.order.len() > max_traces || self.bytes > Ring::MAX_BYTES) {
            let oldest = self.order.pop_front().and_then(|id| self.traces.remove(&id));
            self.bytes -= oldest.map_or(0, |trace| trace.bytes);
        }
    }
}

impl Trace {
    fn summary(&self) -> Option<TraceSummary> {
        let mut summary = TraceSummary::of(self.spans.iter().map(AsRef::as_ref))?;
        summary.spans += self.beyond;
        Some(summary)
    }

    fn contains(&self, lower: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(lower);
        self.spans.iter().any(|span| {
            has(&span.name)
                || has(&span.node)
                || span.error.as_deref().is_some_and(has)
                || span.attributes.iter().any(|(_, value)| value.as_text().is_some_and(has))
        }) || self.spans.first().is_some_and(|span| has(&format!("{:032x}", span.trace_id)))
    }
}

impl TraceSummary {
    /// The summary of the spans of one trace, from one node or from many; `None` without spans.
    pub fn of<'a>(spans: impl IntoIterator<Item = &'a SpanRecord>) -> Option<Self> {
        let spans: Vec<&SpanRecord> = spans.into_iter().collect();
        let root = *spans.iter().min_by_key(|span| {
            let rank = match (span.parent_span_id, span.remote_parent, span.kind) {
                (None, _, _) => 0,
                (Some(_), true, SpanKind::Server) => 1,
                (Some(_), true, _) => 2,
                (Some(_), false, _) => 3,
            };
            (rank, span.start_unix_nanos)
        })?;
        let started = spans.iter().map(|span| span.start_unix_nanos).min()?;
        let ended = spans.iter().map(|span| span.end_unix_nanos).max()?;
        let caller_fault = || root.attribute(names::ERROR_TYPE).and_then(Value::as_text).map(str::to_owned);
        let below = || spans.iter().find_map(|span| span.error.clone());
        let mut nodes: Vec<String> = spans.iter().map(|span| span.node.clone()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        Some(Self {
            trace_id: root.trace_id,
            name: root.name.to_string(),
            started_unix_nanos: started,
            duration_nanos: ended.saturating_sub(started),
            spans: spans.len(),
            error: root.error.clone().or_else(caller_fault).or_else(below),
            nodes,
        })
    }
}

#[cfg(test)]
mod tests;
