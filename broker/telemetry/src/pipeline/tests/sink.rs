//! Collectors for tests.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// What a collector was sent.
pub(super) struct Received {
    pub(super) message: ExportTraceServiceRequest,
    pub(super) token: Option<String>,
}

/// A collector over gRPC.
pub(super) struct GrpcSink {
    pub(super) endpoint: String,
    pub(super) requests: mpsc::Receiver<Received>,
    task: JoinHandle<()>,
}

struct Service(mpsc::Sender<Received>);

impl GrpcSink {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::channel(64);
        let server = Server::builder().add_service(TraceServiceServer::new(Service(sender)));
        let task = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { endpoint, requests, task }
    }
}

impl Drop for GrpcSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let token = request.metadata().get("x-token").map(|value| value.to_str().unwrap().to_owned());
        self.0.send(Received { message: request.into_inner(), token }).await.unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Answers one POST with an empty success, and gives its head in lower case and its message.
pub(super) async fn serve_one_http_request(listener: TcpListener) -> (String, ExportTraceServiceRequest) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        stream.read_buf(&mut bytes).await.unwrap();
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = bytes.split_off(end);
    while body.len() < length {
        stream.read_buf(&mut body).await.unwrap();
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    (head, ExportTraceServiceRequest::decode(&body[..]).unwrap())
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> Option<&str> {
    match value?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The two spans of `one_call`, as they must arrive.
pub(super) fn check_one_call(message: &ExportTraceServiceRequest) {
    let [resource] = &message.resource_spans[..] else { panic!("{message:?}") };
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    let named = |key: &str| text(attributes.iter().find(|pair| pair.key == key).unwrap().value.as_ref());
    assert_eq!((named("service.name"), named("service.instance.id")), (Some("spanwire"), Some("n1")));
    assert!(named("service.version").is_some());

    let [scope] = &resource.scope_spans[..] else { panic!("{resource:?}") };
    let [child, root]: &[Span; 2] = scope.spans[..].try_into().unwrap();
    assert_eq!((root.name.as_str(), root.kind, child.kind), ("tools/call x", 2, 3));
    assert!(root.parent_span_id.is_empty() && root.status.as_ref().is_none_or(|status| status.code == 0));
    assert_eq!((&child.parent_span_id, &child.trace_id), (&root.span_id, &root.trace_id));
    assert_eq!(child.links[0].span_id, root.span_id);
    assert_eq!(root.attributes[0].key, "spanwire.wait_ms");
    assert_eq!(child.status.as_ref().unwrap().code, StatusCode::Error as i32);
    assert_eq!(text(child.attributes[0].value.as_ref()), Some("tool_error"));
    assert!(child.start_time_unix_nano >= root.start_time_unix_nano);
}
