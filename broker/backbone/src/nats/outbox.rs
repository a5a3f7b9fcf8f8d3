//! The frames of one reply on their way to the caller.

use std::sync::Arc;

use async_nats::Subject;
use bytes::Bytes;
use spanwire_model::Error;
use tokio::time::Instant;

use super::{
    frame::{Head, Kind},
    inner::{EXECUTOR, Inner, Unsent},
    parts::Whole,
};

/// Numbers frames and publishes them.
pub(super) struct Outbox {
    inner: Arc<Inner>,
    /// The caller's inbox.
    to: Subject,
    /// Where the server says that the caller's inbox is gone.
    back: Subject,
    seq: u64,
    last_sent: Instant,
}

impl Outbox {
    pub(super) fn new(inner: Arc<Inner>, to: Subject, key: &str) -> Self {
        let back = inner.subjects.inbox(&format!("{EXECUTOR}{key}")).into();
        Self { inner, to, back, seq: 0, last_sent: Instant::now() }
    }

    pub(super) fn last_sent(&self) -> Instant {
        self.last_sent
    }

    /// Sends a numbered frame.
    pub(super) async fn send(&mut self, kind: Kind, payload: Bytes, whole: Option<Whole>) -> Result<(), Unsent> {
        let seq = self.seq + 1;
        let named = seq == 1 || matches!(kind, Kind::Failed(_));
        let node = named.then(|| self.inner.config.node().clone());
        // Nobody is left to stop when the last frame finds no inbox.
        let back = (!matches!(kind, Kind::End { .. } | Kind::Failed(_))).then(|| self.back.clone());
        self.publish(&Head { kind, seq, node, whole }, back, payload).await?;
        self.seq = seq;
        Ok(())
    }

    /// Says that this node is at it.
    pub(super) async fn alive(&mut self, got: u32, starved: bool) -> Result<(), Unsent> {
        let node = Some(self.inner.config.node().clone());
        let head = Head { kind: Kind::Alive { got, starved }, seq: self.seq, node, whole: None };
        self.publish(&head, Some(self.back.clone()), Bytes::new()).await
    }

    /// Ends the reply with an error. When that cannot be sent, the caller's own silence timer does it.
    pub(super) async fn fail(&mut self, error: &Error) {
        if let Some(private) = &error.private {
            tracing::debug!(error = %error, private, "request failed");
        }
        let text = Bytes::from(error.public.to_string());
        if let Err(unsent) = self.send(Kind::Failed(error.kind), text, None).await {
            tracing::debug!(%unsent, error = %error, "error not sent");
        }
    }

    async fn publish(&mut self, head: &Head, back: Option<Subject>, payload: Bytes) -> Result<(), Unsent> {
        let headers = head.encode();
        loop {
            let sent = self.inner.publish(self.to.clone(), back.clone(), headers.clone(), payload.clone()).await;
            match sent {
                // A short interruption need not lose the reply: if frames are lost in it, the caller sees that.
                Err(Unsent::NotConnected) if self.inner.connected_again().await => {}
                outcome => {
                    self.last_sent = Instant::now();
                    return outcome;
                }
            }
        }
    }
}
