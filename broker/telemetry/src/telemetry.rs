//! Telemetry of one node as a whole: started once, handed to everyone, flushed at the end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_sdk::Resource;
use spanwire_model::NodeId;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    Config, ConfigError, Metrics, Ring, Tracer,
    pipeline::{Export, Pipeline, otlp},
    tracer::{Intake, Sink},
};

/// Spans, metrics and the ring of one node. A cheap handle; when the last one is dropped, its task ends, and what was
/// not exported is lost: call [`Telemetry::shutdown`] first.
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tracer: Tracer,
    metrics: Arc<Metrics>,
    ring: Arc<Ring>,
    task: Option<Task>,
}

/// What belongs to telemetry that has a task.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) intake: Intake,
    pub(crate) resource: Resource,
    stop: watch::Sender<Option<Instant>>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Telemetry {
    /// Starts the task that exports. Nothing is connected yet; a collector that is down is no error.
    pub fn start(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let resource = otlp::resource(&config);
        let export = match &config.otlp {
            // Attempts and the pauses between them end after the time-out; one last attempt may begin just before.
            Some(to) => {
                Some(Export::new(otlp::exporter(to, &resource)?, to.timeout.saturating_mul(2), config.queue_spans))
            }
            None => None,
        };
        let metrics = Arc::new(Metrics::new(config.max_series));
        let ring = Arc::new(Ring::new(config.ring_traces));
        let (queue, records) = mpsc::channel(config.queue_spans);
        let (stop, stopped) = watch::channel(None);
        let pipeline = Pipeline {
            intake: records,
            ring: Arc::clone(&ring),
            metrics: Arc::clone(&metrics),
            node: config.node.to_string(),
            export,
            stop: stopped,
        };
        let running = Mutex::new(Some(runtime.spawn(pipeline.run())));
        let intake = Intake { queue, metrics: Arc::clone(&metrics) };
        let tracer = Tracer::new(config.sample_ratio, config.respect_parent, Sink::Queue(intake.clone()));
        let task = Some(Task { intake, resource, stop, running });
        Ok(Self { inner: Arc::new(Inner { tracer, metrics, ring, task }) })
    }

    /// Telemetry without a task, for tests and short commands: everything is recorded, straight into the ring, and
    /// nothing is exported.
    pub fn disabled(node: NodeId) -> Self {
        let metrics = Arc::new(Metrics::new(Config::MAX_SERIES));
        let ring = Arc::new(Ring::new(Config::RING_TRACES));
        let tracer = Tracer::new(1.0, true, Sink::Ring { ring: Arc::clone(&ring), node: node.to_string() });
        Self { inner: Arc::new(Inner { tracer, metrics, ring, task: None }) }
    }

    /// Starts spans.
    pub fn tracer(&self) -> &Tracer {
        &self.inner.tracer
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// The recent traces.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.inner.ring
    }

    /// Takes in and exports what waits, for at most this long; the rest is counted as lost. Spans that end later are
    /// lost, too. A second call does nothing.
    pub async fn shutdown(&self, within: Duration) {
        let Some(task) = &self.inner.task else { return };
        let running = task.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut running) = running else { return };
        task.stop.send_replace(Some(Instant::now() + within));
        // The task keeps the deadline on its own; the margin is for a runtime that is busy.
        if timeout(within.saturating_add(STOP_MARGIN), &mut running).await.is_err() {
            running.abort();
        }
    }

    pub(crate) fn task(&self) -> Option<&Task> {
        self.inner.task.as_ref()
    }
}

/// How much later than its deadline the task may be seen to end.
const STOP_MARGIN: Duration = Duration::from_millis(500);
