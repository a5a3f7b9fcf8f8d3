//! How far each shard of the ledger is on this node.

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use spanwire_model::{ShardState, ShardStatus};

use super::{exposition::add, series::Series};
use crate::names;

const ALL_STATES: [ShardState; 5] = [
    ShardState::CatchingUp,
    ShardState::Following,
    ShardState::CutOff,
    ShardState::Rebuilding,
    ShardState::Stopped,
];

/// The gauges of all shards.
#[derive(Debug)]
pub(super) struct Shards {
    applied: Series<Gauge, 1>,
    lag: Series<Gauge, 1>,
    states: Series<Gauge, 2>,
}

impl Shards {
    pub(super) fn new(max_series: usize) -> Self {
        const SHARD: [&str; 1] = [names::LABEL_SHARD];
        Self {
            applied: Series::new(SHARD, max_series, Gauge::default),
            lag: Series::new(SHARD, max_series, Gauge::default),
            states: Series::new([names::LABEL_SHARD, names::LABEL_STATE], max_series, Gauge::default),
        }
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
        add(registry, names::METRIC_LEDGER_APPLIED, "Last entry of a shard that is applied here", self.applied.clone());
        add(registry, names::METRIC_LEDGER_LAG, "Entries of a shard that are not applied here yet", self.lag.clone());
        add(registry, names::METRIC_LEDGER_STATE, "1 for the state that a shard is in here", self.states.clone());
    }
}
