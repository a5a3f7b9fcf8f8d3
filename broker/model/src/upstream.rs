//! A server as the broker sees it.

use std::sync::Arc;

use async_trait::async_trait;
use spanwire_mcp::{Json, Method};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

use crate::{Fence, Reply, Result, ServerFacts, ServerId, ServerSpec, TraceContext};

/// One request to a server, in the canonical revision and with the server's own names.
#[derive(Debug, Clone)]
pub struct UpstreamCall {
    /// The broker's call.
    pub call_id: Uuid,
    /// The name of the principal that calls.
    pub principal: Arc<str>,
    /// The method.
    pub method: Method,
    /// The params: always an object. Its `_meta` holds what the client sent but for trace context, which is `trace`.
    pub params: Json,
    /// When the budget is used up. The caller of `Upstream::call` enforces it by dropping the reply.
    pub deadline: Instant,
    /// Sent to the server in `_meta`, and in headers where the transport has them.
    pub trace: Option<TraceContext>,
}

/// A connected server. Whatever revision it speaks, it looks like 2026-07-28 from here.
///
/// Laws: `call` returns at once; the reply is driven by polling it; **dropping the reply tells the server that the call
/// is cancelled** and frees everything held for it; progress events carry the caller's token; replies of concurrent calls are
/// independent; after the server is gone every pending and later reply ends with an error of kind `Unavailable` (nothing
/// was sent) or `StreamLost` (it was).
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Sends a request.
    fn call(&self, call: UpstreamCall) -> Reply;

    /// Ends the connection, politely at first and by force within a bounded time.
    async fn close(&self);
}

/// What a server says unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Tools changed.
    ToolsChanged,
    /// Prompts changed.
    PromptsChanged,
    /// Resources or templates changed.
    ResourcesChanged,
    /// The connection is gone, and why. Always the last notice.
    Closed(Arc<str>),
}

/// A fresh connection.
pub struct Connected {
    /// The server.
    pub upstream: Arc<dyn Upstream>,
    /// What it said of itself.
    pub facts: ServerFacts,
    /// What it says unasked. Changes of one kind may be merged.
    pub notices: mpsc::Receiver<Notice>,
}

/// Connects servers of one or more transports.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects, finds out the era and shakes hands. `known` is the era that was found the last time.
    /// Dropping the future leaves nothing behind, soon: see [`Connector::gone`].
    async fn connect(&self, spec: &ServerSpec, known: Option<spanwire_mcp::Era>) -> Result<Connected>;

    /// Connects a server that may only run while a lease is valid. The caller closes it when it no longer is; a transport that can sees to
    /// it that the server also ends when this process is paused and does not get to that.
    async fn connect_fenced(
        &self,
        spec: &ServerSpec,
        known: Option<spanwire_mcp::Era>,
        fence: &Fence,
    ) -> Result<Connected> {
        let _ = fence;
        self.connect(spec, known).await
    }

    /// Returns when nothing is left of this server as it was started before: of connections that were closed, and of those whose future
    /// was dropped on the way. Whoever starts it again waits for this first, and so does whoever lets another node start it. It takes as
    /// long as it takes; the caller bounds it.
    async fn gone(&self, server: &ServerId) {
        let _ = server;
    }
}
