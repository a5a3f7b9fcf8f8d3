//! How far each shard of the ledger is on this node, and what became of the commands that were appended here.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use spanwire_model::{Shard, ShardState, ShardStatus};

use super::{HOP_BUCKETS, exposition::add, series::Series};
use crate::names;

const ALL_STATES: [ShardState; 5] =
    [ShardState::CatchingUp, ShardState::Following, ShardState::CutOff, ShardState::Rebuilding, ShardState::Stopped];

/// The metrics of all shards.
#[derive(Debug)]
pub(super) struct Shards {
    appends: Series<Counter, 2>,
    duration: Series<Histogram, 1>,
    applied: Series<Gauge, 1>,
    lag: Series<Gauge, 1>,
    states: Series<Gauge, 2>,
}

impl Shards {
    pub(super) fn new(max_series: usize) -> Self {
        const SHARD: [&str; 1] = [names::LABEL_SHARD];
        Self {
            appends: Series::new([names::LABEL_SHARD, names::LABEL_OUTCOME], max_series, Counter::default),
            duration: Series::new(SHARD, max_series, || Histogram::new(HOP_BUCKETS)),
            applied: Series::new(SHARD, max_series, Gauge::default),
            lag: Series::new(SHARD, max_series, Gauge::default),
            states: Series::new([names::LABEL_SHARD, names::LABEL_STATE], max_series, Gauge::default),
        }
    }

    pub(super) fn appended(&self, shard: Shard, outcome: &str, took: Duration) {
        let shard = shard.to_string();
        self.appends.with([&shard, outcome], |counter| counter.inc());
        self.duration.with([&shard], |histogram| histogram.observe(took.as_secs_f64()));
    }

    pub(super) fn set(&self, shards: &[ShardStatus]) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for status in shards {
            let shard = status.shard.to_string();
            self.applied.with([&shard], |gauge| gauge.set(number(status.applied)));
            self.lag.with([&shard], |gauge| gauge.set(number(status.last.saturating_sub(status.applied))));
            for state in ALL_STATES {
                let set = i64::from(state == status.state);
                self.states.with([&shard, &state.as_str().replace(' ', "_")], |gauge| gauge.set(set));
            }
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        add(
            registry,
            names::METRIC_LEDGER_APPENDS,
            "Commands appended here by what became of them",
            self.appends.clone(),
        );
        let duration = self.duration.clone();
        add(registry, names::METRIC_LEDGER_APPEND_DURATION, "Time from an append to its outcome", duration);
        add(registry, names::METRIC_LEDGER_APPLIED, "Last entry of a shard that is applied here", self.applied.clone());
        add(registry, names::METRIC_LEDGER_LAG, "Entries of a shard that are not applied here yet", self.lag.clone());
        add(registry, names::METRIC_LEDGER_STATE, "1 for the state that a shard is in here", self.states.clone());
    }
}
