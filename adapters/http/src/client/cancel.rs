//! Cancellation where closing the stream is not enough.

use std::sync::Arc;

use bytes::Bytes;
use spanwire_mcp::{Era, Json, Method, Notification, Revision};
use spanwire_model::{Result, ServerId};

/// A connection on which a server can be told something that has no answer.
pub(super) trait Tell: Send + Sync + 'static {
    /// The server.
    fn server(&self) -> &ServerId;

    /// Sends a message within the control time-out.
    fn tell(&self, revision: Revision, body: Bytes, method: &Method) -> impl Future<Output = Result<()>> + Send;
}

/// Tells a legacy server that a request is no longer wanted, when dropped early. For a modern server closing the stream
/// says it (2026-07-28, basic/transports/streamable-http, "Cancellation").
pub(super) struct CancelOnDrop<T: Tell> {
    pub inner: Arc<T>,
    pub id: i64,
    pub revision: Revision,
    /// False before the request is sent, and again once its response is here.
    pub armed: bool,
}

impl<T: Tell> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        if !self.armed || self.revision.era() == Era::Modern {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let cancelled = Notification {
            method: Method::Cancelled,
            params: Some(Json::from_trusted(format!("{{\"requestId\":{}}}", self.id))),
        };
        let (inner, revision) = (self.inner.clone(), self.revision);
        // Ends within the control time-out.
        runtime.spawn(async move {
            if let Err(error) = inner.tell(revision, cancelled.to_bytes(), &Method::Cancelled).await {
                tracing::debug!(server = %inner.server(), %error, "a cancellation could not be sent");
            }
        });
    }
}
