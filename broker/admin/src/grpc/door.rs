//! A request that came in: who asks, in which call and span.

use spanwire_model::{Author, NodeId, Principal, Result, TraceContext};
use spanwire_rpc::CALL_ID_METADATA;
use spanwire_telemetry::{Span, SpanKind, Telemetry, names};
use tonic::{Request, Response, Status, metadata::MetadataMap};
use uuid::Uuid;

use crate::failure;

/// A request that came in, until it is answered. Dropped before that, its span ends as cancelled.
pub(super) struct Door {
    span: Span,
    call: Uuid,
}

impl Door {
    /// Opens the span of the request, in the caller's trace where there is one.
    pub(super) fn enter<T>(
        telemetry: &Telemetry,
        service: &'static str,
        method: &'static str,
        request: &Request<T>,
    ) -> Self {
        let call = Uuid::now_v7();
        let parent = parent(request.metadata());
        let name = || names::rpc_span(service, method).into();
        let mut span = telemetry.tracer().start_with(SpanKind::Server, parent.as_ref(), name);
        if span.is_recording() {
            span.set(names::RPC_SYSTEM_NAME, names::RPC_SYSTEM_GRPC);
            span.set(names::RPC_METHOD, names::rpc_span(service, method));
            span.set_text(names::SPANWIRE_PRINCIPAL, Principal::OPERATOR);
            span.set(names::SPANWIRE_EDGE, "grpc");
            span.set(names::SPANWIRE_CALL_ID, call.to_string());
            if let Some(peer) = request.remote_addr() {
                span.set(names::CLIENT_ADDRESS, peer.ip().to_string());
            }
        }
        Self { span, call }
    }

    /// The operator, in this call and span.
    pub(super) fn author(&self, node: &NodeId) -> Author {
        Author {
            principal: Principal::OPERATOR.into(),
            node: node.clone(),
            call: Some(self.call),
            trace: Some(self.span.context()),
        }
    }

    /// The outcome as an answer; ends the span.
    pub(super) fn leave<T>(mut self, outcome: Result<T>) -> Result<Response<T>, Status> {
        let answer = match outcome {
            Ok(message) => {
                let mut response = Response::new(message);
                if let Ok(id) = self.call.to_string().parse() {
                    response.metadata_mut().insert(CALL_ID_METADATA, id);
                }
                Ok(response)
            }
            Err(error) => {
                self.span.fail(&error);
                Err(failure::status(&error))
            }
        };
        self.span.end();
        answer
    }
}

/// The caller's position in its trace. One that cannot be read is ignored.
fn parent(metadata: &MetadataMap) -> Option<TraceContext> {
    let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
    TraceContext::parse(text(names::TRACEPARENT)?, text(names::TRACESTATE)).ok()
}
