//! Cancellation where closing the stream is not enough.

use std::sync::Arc;

use spanwire_mcp::{Era, Json, Method, Notification, Revision};

use super::wire::Inner;

/// Tells a legacy server that a request is no longer wanted, when dropped early. For a modern server closing the stream
/// says it (2026-07-28, basic/transports/streamable-http, "Cancellation").
pub(super) struct CancelOnDrop {
    pub inner: Arc<Inner>,
    pub id: i64,
    pub revision: Revision,
    /// False before the request is sent, and again once its response is here.
    pub armed: bool,
}

impl Drop for CancelOnDrop {
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
            if let Err(error) = inner.post_control(revision, cancelled.to_bytes(), &Method::Cancelled).await {
                tracing::debug!(server = %inner.server, %error, "a cancellation could not be sent");
            }
        });
    }
}
