//! A request that came in: its span, and the context on behalf of the operator.

use spanwire_context::OnBehalf;
use spanwire_model::{Author, Error, ErrorKind, Principal, Result, TraceContext};
use spanwire_rpc::CALL_ID_METADATA;
use spanwire_telemetry::{Span, SpanKind, names};
use tonic::{Request, Response, Status, metadata::MetadataMap};
use uuid::Uuid;

use crate::{Control, failure};

const SERVICE: &str = "spanwire.v1.Contexts";

/// A request that came in.
pub(super) struct Entered {
    /// The context as the operator sees it, in the span of the request.
    pub(super) behalf: OnBehalf,
    span: Span,
    call: Uuid,
}

impl Entered {
    /// Errors: `MethodNotFound` on a node that runs without a shared context.
    pub(super) fn by<T>(control: &dyn Control, method: &'static str, request: &Request<T>) -> Result<Self> {
        let contexts = control.contexts().ok_or_else(|| {
            let text = "this node runs without the shared context: its configuration has context.enabled = false";
            Error::new(ErrorKind::MethodNotFound, text)
        })?;
        let call = Uuid::now_v7();
        let parent = parent(request.metadata());
        let tracer = control.telemetry().tracer();
        let mut span = tracer.start_with(SpanKind::Server, parent.as_ref(), || names::rpc_span(SERVICE, method).into());
        if span.is_recording() {
            span.set(names::RPC_SYSTEM_NAME, names::RPC_SYSTEM_GRPC);
            span.set(names::RPC_METHOD, names::rpc_span(SERVICE, method));
            span.set_text(names::SPANWIRE_PRINCIPAL, Principal::OPERATOR);
            span.set(names::SPANWIRE_EDGE, "grpc");
            span.set(names::SPANWIRE_CALL_ID, call.to_string());
            if let Some(peer) = request.remote_addr() {
                span.set(names::CLIENT_ADDRESS, peer.ip().to_string());
            }
        }
        let author = Author {
            principal: Principal::OPERATOR.into(),
            node: contexts.node().clone(),
            call: Some(call),
            trace: Some(span.context()),
        };
        Ok(Self { behalf: contexts.on_behalf(author), span, call })
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
