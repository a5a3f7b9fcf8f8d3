//! An OpenTelemetry collector that keeps every span, to be asked what arrived.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tonic::{Request, Response, Status};

/// Longest that spans may take to arrive: nodes send every second, and the machine may be busy.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// A span with what its exporter said of itself.
#[derive(Debug, Clone)]
pub struct Received {
    /// The span as it was sent.
    pub span: Span,
    /// Attributes of the resource.
    pub resource: Vec<KeyValue>,
}

/// A collector on two ports of its own, one for OTLP/gRPC and one for OTLP/HTTP. It ends when it is dropped.
pub struct Collector {
    grpc: SocketAddr,
    http: SocketAddr,
    sink: Sink,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Clone)]
struct Sink {
    spans: watch::Sender<Vec<Received>>,
    requests: Arc<AtomicU64>,
}

impl Collector {
    /// Listens.
    pub async fn start() -> Result<Self> {
        let (grpc, http) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let sink = Sink { spans: watch::Sender::new(Vec::new()), requests: Arc::default() };
        let addresses = (grpc.local_addr()?, http.local_addr()?);
        let service = TraceServiceServer::new(sink.clone());
        let app = axum::Router::new().route("/v1/traces", post(take)).with_state(sink.clone());
        let tasks = [
            tokio::spawn(async move {
                let incoming = tonic::transport::server::TcpIncoming::from(grpc);
                let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
                // It ends with the collector.
                let _ = served.await;
            }),
            tokio::spawn(async move {
                let _ = axum::serve(http, app).await;
            }),
        ];
        Ok(Self { grpc: addresses.0, http: addresses.1, sink, tasks })
    }

    /// The `[telemetry]` section that sends spans here over gRPC.
    pub fn grpc_config(&self) -> String {
        format!("[telemetry]\notlp_endpoint = \"http://{}\"\notlp_protocol = \"grpc\"\n", self.grpc)
    }

    /// The same over HTTP.
    pub fn http_config(&self) -> String {
        format!("[telemetry]\notlp_endpoint = \"http://{}\"\notlp_protocol = \"http\"\n", self.http)
    }

    /// Requests that arrived until now.
    pub fn requests(&self) -> u64 {
        self.sink.requests.load(Ordering::Relaxed)
    }

    /// The spans of a trace that arrived until now, by start.
    pub fn spans(&self, trace_id: &str) -> Vec<Received> {
        of_trace(&self.sink.spans.borrow(), trace_id)
    }

    /// Waits for at least `count` spans of a trace.
    pub async fn wait_for(&self, trace_id: &str, count: usize) -> Result<Vec<Received>> {
        self.wait_until(trace_id, &format!("{count} spans"), |spans| spans.len() >= count).await
    }

    /// Waits until the spans of a trace satisfy a condition; `what` is for the error. A trace id is 32 hex digits.
    pub async fn wait_until(
        &self,
        trace_id: &str,
        what: &str,
        wanted: impl Fn(&[Received]) -> bool,
    ) -> Result<Vec<Received>> {
        let mut arrivals = self.sink.spans.subscribe();
        let waited = timeout(ARRIVAL_TIMEOUT, arrivals.wait_for(|all| wanted(&of_trace(all, trace_id)))).await;
        match waited {
            Ok(all) => Ok(of_trace(&all.context("the collector ended")?, trace_id)),
            Err(_) => {
                let spans: Vec<String> = self.spans(trace_id).iter().map(Received::describe).collect();
                bail!("trace {trace_id}: no {what} within {ARRIVAL_TIMEOUT:?}, but {spans:#?}")
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn of_trace(all: &[Received], trace_id: &str) -> Vec<Received> {
    let mut found: Vec<Received> = all.iter().filter(|received| received.trace_id() == trace_id).cloned().collect();
    found.sort_by_key(|received| received.span.start_time_unix_nano);
    found
}

impl Received {
    /// 32 hex digits.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// 16 hex digits.
    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// 16 hex digits, or empty.
    pub fn parent_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// What part of an exchange it is.
    pub fn kind(&self) -> SpanKind {
        self.span.kind()
    }

    /// An attribute as text: a string as it is, anything else as Rust writes it.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text_of(&self.span.attributes, key)
    }

    /// An attribute that is a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.attribute(key)?.parse().ok()
    }

    /// An attribute of the resource as text.
    pub fn resource(&self, key: &str) -> Option<String> {
        text_of(&self.resource, key)
    }

    /// Whether its status is an error.
    pub fn failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error)
    }

    /// How long it took.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.span.end_time_unix_nano.saturating_sub(self.span.start_time_unix_nano))
    }

    /// One line for an error.
    pub fn describe(&self) -> String {
        let attributes: Vec<String> = self
            .span
            .attributes
            .iter()
            .map(|attribute| format!("{}={}", attribute.key, text(attribute.value.as_ref()).unwrap_or_default()))
            .collect();
        format!(
            "{:?} {:?} {} <- {} on {} status {:?} {}",
            self.kind(),
            self.span.name,
            self.span_id(),
            self.parent_id(),
            self.resource("service.instance.id").unwrap_or_default(),
            self.span.status.as_ref().map(|status| (status.code(), &status.message)),
            attributes.join(" "),
        )
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    text(attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref())
}

fn text(value: Option<&AnyValue>) -> Option<String> {
    match value?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(value) => Some(value.to_string()),
        other => Some(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sink {
    fn take(&self, request: ExportTraceServiceRequest) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let received = request.resource_spans.into_iter().flat_map(|of_resource| {
            let resource = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
            spans.map(move |span| Received { span, resource: resource.clone() })
        });
        self.spans.send_modify(|all| all.extend(received));
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn take(State(sink): State<Sink>, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            sink.take(request);
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}
