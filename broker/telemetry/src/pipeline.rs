//! The one task behind all spans: into the ring, and in batches to the collector.
//!
//! It takes records in while an export runs, so that a slow collector delays neither the ring nor the calls: it fills
//! the backlog, and then spans are dropped and counted.

pub(crate) mod otlp;

use std::{collections::VecDeque, future::pending, pin::Pin, sync::Arc, time::Duration};

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};

use crate::{
    SpanRecord,
    metrics::{Metrics, SpanResult},
    ring::Ring,
};

/// Most spans of one export.
const BATCH: usize = 512;
/// How long the task sleeps after it took spans in, so that a busy node's calls do not wake it for each span. Also how
/// much later than its end a span is seen in the ring.
const GATHER: Duration = Duration::from_millis(10);
/// Longest that a span waits for its batch to fill.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How often failures and drops are logged.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Takes ended spans until it is stopped or nobody is left to end one.
pub(crate) struct Pipeline {
    pub(crate) intake: mpsc::Receiver<SpanRecord>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node: String,
    pub(crate) export: Option<Export>,
    /// `Some`: stop, and be done by then. Gone without a word: stop at once.
    pub(crate) stop: watch::Receiver<Option<Instant>>,
}

/// What waits for a collector.
pub(crate) struct Export {
    exporter: Arc<SpanExporter>,
    /// Bounds a batch with all its retries, whatever the exporter does.
    limit: Duration,
    max_backlog: usize,
    backlog: VecDeque<Arc<SpanRecord>>,
    sending: Option<Sending>,
    warning: Warning,
}

/// A batch on its way.
struct Sending {
    count: usize,
    result: Pin<Box<dyn Future<Output = Result<(), String>> + Send>>,
}

#[derive(Default)]
struct Warning {
    last: Option<Instant>,
    dropped_before: u64,
    failed_before: u64,
}

impl Pipeline {
    pub(crate) async fn run(mut self) {
        let mut records = Vec::with_capacity(BATCH);
        let mut tick = interval(BATCH_DELAY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asleep = false;
        let nap = sleep(GATHER);
        tokio::pin!(nap);
        loop {
            tokio::select! {
                _ = self.stop.changed() => break,
                taken = self.intake.recv_many(&mut records, BATCH), if !asleep => {
                    if taken == 0 {
                        break;
                    }
                    records.drain(..).for_each(|record| self.take(record));
                    self.send_when(|backlog| backlog >= BATCH);
                    asleep = taken < BATCH;
                    nap.as_mut().reset(Instant::now() + GATHER);
                }
                () = &mut nap, if asleep => asleep = false,
                (count, result) = sent(&mut self.export) => {
                    self.finished(count, result);
                    self.send_when(|backlog| backlog >= BATCH);
                }
                _ = tick.tick() => {
                    self.send_when(|backlog| backlog > 0);
                    self.warn(None);
                }
            }
        }
        self.flush().await;
    }

    fn take(&mut self, mut record: SpanRecord) {
        record.node.clone_from(&self.node);
        let record = Arc::new(record);
        self.ring.push(Arc::clone(&record));
        match &mut self.export {
            None => self.metrics.span_unqueued(1),
            Some(export) if export.backlog.len() < export.max_backlog => export.backlog.push_back(record),
            Some(_) => {
                self.metrics.span_unqueued(1);
                self.metrics.spans_done(SpanResult::DroppedQueue, 1);
            }
        }
    }

    fn send_when(&mut self, enough: impl FnOnce(usize) -> bool) {
        if let Some(export) = &mut self.export
            && export.sending.is_none()
            && enough(export.backlog.len())
        {
            let count = export.start();
            self.metrics.span_unqueued(count);
        }
    }

    fn finished(&mut self, count: usize, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.metrics.spans_done(SpanResult::Exported, count);
                self.metrics.export_succeeded();
            }
            Err(error) => {
                self.metrics.spans_done(SpanResult::Failed, count);
                self.warn(Some(&error));
            }
        }
    }

    fn warn(&mut self, error: Option<&str>) {
        let (failed, dropped) = (self.metrics.spans(SpanResult::Failed), self.metrics.spans(SpanResult::DroppedQueue));
        if let Some(export) = &mut self.export {
            export.warning.give(failed, dropped, error);
        }
    }

    /// Takes in what waits, exports until the deadline, counts the rest as lost.
    async fn flush(&mut self) {
        let deadline = self.stop.borrow().unwrap_or_else(Instant::now);
        self.intake.close();
        while let Some(record) = self.intake.recv().await {
            self.take(record);
        }
        while let Some(export) = &mut self.export {
            if export.sending.is_none() {
                if export.backlog.is_empty() {
                    break;
                }
                let count = export.start();
                self.metrics.span_unqueued(count);
            }
            let Ok((count, result)) = timeout_at(deadline, sent(&mut self.export)).await else {
                break;
            };
            self.finished(count, result);
        }
        if let Some(export) = self.export.take() {
            let lost = export.backlog.len() + export.sending.map_or(0, |sending| sending.count);
            self.metrics.span_unqueued(export.backlog.len());
            self.metrics.spans_done(SpanResult::LostAtShutdown, lost);
            if lost > 0 {
                tracing::warn!(lost, "spans were not exported before the end");
            }
        }
    }
}

impl Export {
    pub(crate) fn new(exporter: SpanExporter, limit: Duration, max_backlog: usize) -> Self {
        Self {
            exporter: Arc::new(exporter),
            limit,
            max_backlog,
            backlog: VecDeque::new(),
            sending: None,
            warning: Warning::default(),
        }
    }

    /// Sends the oldest batch off, and says how many spans that were.
    fn start(&mut self) -> usize {
        let count = self.backlog.len().min(BATCH);
        let batch: Vec<_> = self.backlog.drain(..count).collect();
        let (exporter, limit) = (Arc::clone(&self.exporter), self.limit);
        let result = Box::pin(async move {
            let batch: Vec<_> = batch.iter().map(|record| otlp::span_data(record)).collect();
            match timeout(limit, exporter.export(batch)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err("timed out".into()),
            }
        });
        self.sending = Some(Sending { count, result });
        count
    }
}

/// Waits for the batch that is on its way; for ever when there is none.
async fn sent(export: &mut Option<Export>) -> (usize, Result<(), String>) {
    let Some(Export { sending, .. }) = export else { return pending().await };
    let Some(Sending { count, result }) = sending else { return pending().await };
    let done = (*count, result.await);
    *sending = None;
    done
}

impl Warning {
    fn give(&mut self, failed: u64, dropped: u64, error: Option<&str>) {
        let new = (failed - self.failed_before, dropped - self.dropped_before);
        if new == (0, 0) || self.last.is_some_and(|last| last.elapsed() < WARN_EVERY) {
            return;
        }
        tracing::warn!(failed = new.0, dropped = new.1, error, "spans were not exported");
        *self = Self { last: Some(Instant::now()), dropped_before: dropped, failed_before: failed };
    }
}

#[cfg(test)]
mod tests;
