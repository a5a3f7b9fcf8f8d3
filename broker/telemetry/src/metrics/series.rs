//! A metric with labels and a bound on how many combinations of their values it has.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use crate::names::OTHER;

/// Stands between label values in a key; a value that holds it counts as [`OTHER`].
const SEPARATOR: char = '\u{1f}';
/// Longest label value; a longer one counts as [`OTHER`].
const MAX_VALUE_BYTES: usize = 256;

thread_local! {
    /// The key that is looked up, so that a lookup allocates nothing.
    static KEY: RefCell<String> = RefCell::default();
}

/// A family of metrics `M` with `N` labels. Unlike the library's own family it is looked up with borrowed values, and
/// it does not grow beyond its limit: further combinations share one series in which each value is `_other`. An
/// empty value means that the label is absent.
pub(super) struct Series<M, const N: usize>(Arc<Inner<M, N>>);

struct Inner<M, const N: usize> {
    labels: [&'static str; N],
    limit: usize,
    make: fn() -> M,
    metrics: RwLock<HashMap<Box<str>, M>>,
}

impl<M: Clone, const N: usize> Series<M, N> {
    pub(super) fn new(labels: [&'static str; N], limit: usize, make: fn() -> M) -> Self {
        Self(Arc::new(Inner { labels, limit, make, metrics: RwLock::default() }))
    }

    /// The metric of these values, to keep.
    pub(super) fn get(&self, values: [&str; N]) -> M {
        self.with(values, M::clone)
    }

    /// Uses the metric of these values.
    pub(super) fn with<R>(&self, values: [&str; N], record: impl FnOnce(&M) -> R) -> R {
        KEY.with_borrow_mut(|key| {
            write_key(key, values.iter().copied());
            let known = self.0.metrics.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(metric) = known.get(key.as_str()) {
                return record(metric);
            }
            drop(known);
            let mut metrics = self.0.metrics.write().unwrap_or_else(PoisonError::into_inner);
            if metrics.len() >= self.0.limit && !metrics.contains_key(key.as_str()) {
                write_key(key, values.iter().map(|value| if value.is_empty() { "" } else { OTHER }));
            }
            record(metrics.entry(key.as_str().into()).or_insert_with(self.0.make))
        })
    }
}

fn write_key<'a>(key: &mut String, values: impl Iterator<Item = &'a str>) {
    key.clear();
    for (index, value) in values.enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        let fits = value.len() <= MAX_VALUE_BYTES && !value.contains(SEPARATOR);
        key.push_str(if fits { value } else { OTHER });
    }
}

impl<M: EncodeMetric + TypedMetric, const N: usize> EncodeMetric for Series<M, N> {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let metrics = self.0.metrics.read().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = metrics.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        for (key, metric) in sorted {
            let pairs = self.0.labels.into_iter().zip(key.split(SEPARATOR));
            let labels: Vec<(&str, &str)> = pairs.filter(|(_, value)| !value.is_empty()).collect();
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

impl<M, const N: usize> Clone for Series<M, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M, const N: usize> fmt::Debug for Series<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("labels", &self.0.labels).finish_non_exhaustive()
    }
}
