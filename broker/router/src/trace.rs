//! The spans of one trace from every node that recorded some.

use std::time::Duration;

use futures::{StreamExt, future::join_all};
use spanwire_mcp::{Json, Limits, Message, Method, Request, RequestId};
use spanwire_model::{Address, BusRequest, Error, Frame, NodeId, Principal};
use spanwire_telemetry::SpanRecord;
use uuid::Uuid;

use crate::{Inner, Router, serve::TRACE_METHOD};

/// Longest that a node may take to tell its spans. One that does not is left out.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

impl Router {
    /// The spans of a trace that this node and the others hold, ordered by their start.
    pub async fn trace(&self, trace_id: u128) -> Vec<SpanRecord> {
        let inner = &self.0;
        let mut spans = inner.telemetry.ring().trace(trace_id).unwrap_or_default();
        let inventory = inner.registry.inventory();
        let peers = inventory.nodes.iter().map(|node| &node.id).filter(|node| **node != inner.config.node);
        for (node, told) in join_all(peers.map(async |node| (node, ask(inner, node, trace_id).await))).await {
            match told {
                Ok(told) => spans.extend(told),
                Err(error) => tracing::debug!(peer = %node, "does not tell its spans: {error}"),
            }
        }
        spans.sort_by_key(|span| span.start_unix_nanos);
        spans
    }
}

async fn ask(inner: &Inner, node: &NodeId, trace_id: u128) -> Result<Vec<SpanRecord>, Error> {
    let params = Json::from_trusted(format!("{{\"traceId\":\"{trace_id:032x}\"}}"));
    let request = Request { id: RequestId::Number(1), method: Method::from(TRACE_METHOD), params: Some(params) };
    let request = BusRequest {
        call_id: Uuid::now_v7(),
        principal: Principal::OPERATOR.into(),
        server: None,
        method: TRACE_METHOD.into(),
        name: None,
        budget: ASK_TIMEOUT,
        trace: None,
        payload: request.to_bytes(),
    };
    let mut frames = inner.backbone.request(Address::Node(node.clone()), request);
    while let Some(frame) = frames.next().await {
        if let Frame::End { payload, .. } = frame?
            && let Message::Response(response) = Message::parse_single(&payload, &Limits::default())?
        {
            let spans = response.outcome.map_err(Error::from_bus_object)?;
            return spans.read().map_err(|error| Error::new(spanwire_model::ErrorKind::BadServer, error.to_string()));
        }
    }
    Ok(Vec::new())
}
