//! How many things are in flight, counted by guards so that a dropped future counts too.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A count of what is running.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

/// One thing that is running, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Arc<AtomicU64>);

impl Gauge {
    pub(crate) fn enter(&self) -> Running {
        self.0.fetch_add(1, Ordering::Relaxed);
        Running(self.0.clone())
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The two facts that every backbone reports.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight {
    /// Calls that wait for a reply.
    pub(crate) requests: Gauge,
    /// Calls that are being handled.
    pub(crate) handling: Gauge,
}

impl InFlight {
    pub(crate) fn facts(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([("requests", self.requests.count()), ("handling", self.handling.count())])
    }
}
