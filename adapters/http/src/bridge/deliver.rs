//! Messages that have no answer: the host's notifications, and its responses to what the node asks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use spanwire_mcp::{Method, Notification, RequestId};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{Bridge, NOTIFY_TIMEOUT};

/// A response of the host is posted again for this long while the node is not reachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait between two posts of the same response.
const ANSWER_RETRY: Duration = Duration::from_millis(500);

impl Bridge {
    /// A modern node hears a cancellation as the closing of the request's stream. In a session it is told, and closes the stream
    /// itself when it has said what is left to say.
    pub(super) async fn notify(self: &Arc<Self>, notification: Notification, body: Bytes, tasks: &TaskTracker) {
        let legacy = self.session.is_open();
        if notification.method == Method::Cancelled {
            // First: once the node knows, it ends the stream, and what was cancelled must not be answered for that.
            let id = notification.params.as_ref().and_then(|params| params.get("requestId"));
            let id = id.and_then(|id| id.read::<RequestId>().ok());
            if let Some(running) = id.and_then(|id| self.running().remove(&id)) {
                running.unwanted.cancel();
                if !legacy {
                    running.cancelled.cancel();
                }
            }
        }
        if legacy {
            self.deliver(body).await;
        }
        match notification.method {
            Method::Initialized if legacy => {
                if let Some(stop) = self.session.start_relay(&self.closing) {
                    let bridge = self.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = Box::pin(bridge.relay_stream()) => {}
                        }
                    });
                }
            }
            _ => {}
        }
    }

    /// Posts what the host answers to the node's request. Nothing waits for it: the request that the node asked in may be the very
    /// one that is running. A modern node asks nothing.
    pub(super) async fn answer_node(self: &Arc<Self>, body: Bytes, tasks: &TaskTracker) {
        if !self.session.is_open() {
            tracing::debug!("left aside a response, since no session asked for one");
            return;
        }
        let Ok(place) = self.answers.clone().acquire_owned().await else { return };
        let bridge = self.clone();
        tasks.spawn(async move {
            let until = Instant::now() + ANSWER_TIMEOUT;
            while !bridge.deliver(body.clone()).await && Instant::now() < until {
                tokio::select! {
                    () = bridge.closing.cancelled() => break,
                    () = sleep(ANSWER_RETRY) => {}
                }
            }
            drop(place);
        });
    }

    /// Posts a message that has no answer; false when the node was not reached.
    pub(super) async fn deliver(&self, body: Bytes) -> bool {
        match timeout(NOTIFY_TIMEOUT, self.post(body, self.session.headers())).await {
            Ok(Ok(response)) => {
                // The node cannot be reached for the moment, or not by the one that was asked.
                if matches!(response.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
                    return false;
                }
                if !response.status().is_success() {
                    tracing::debug!(status = response.status().as_u16(), "the node refused a message");
                }
                return true;
            }
            Ok(Err(error)) => tracing::debug!(private = error.private.as_deref(), "could not deliver: {error}"),
            Err(_) => tracing::debug!("the node did not take a message in time"),
        }
        false
    }
}
