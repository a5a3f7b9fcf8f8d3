//! What comes back for one call.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt, stream};
use spanwire_mcp::{Json, Notification};

use crate::{Error, ErrorKind};

/// The end of a call: the result as bytes in the canonical revision, or an error.
pub type Outcome = Result<Json, Error>;

/// One thing that happens during a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A progress notification. The token in it is the caller's. Only the latest one matters.
    Progress(Notification),
    /// Any other notification that belongs to the call: a log message, a subscription's update. Never dropped silently.
    Notification(Notification),
    /// The outcome. Exactly one, and last.
    Done(Outcome),
}

/// The events of one call: a stream with exactly one [`Event::Done`], which is last.
///
/// Whatever is below is driven by polling this stream and nothing else, and **dropping it cancels the call all the way
/// down**. Work that must happen then sits in a guard inside the stream.
pub struct Reply {
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
    done: bool,
}

impl Reply {
    /// Wraps a stream. A stream that ends without `Done` is given one that says so; what follows `Done` is not polled.
    pub fn new(stream: impl Stream<Item = Event> + Send + 'static) -> Self {
        Self { stream: Box::pin(stream), done: false }
    }

    /// A reply that is already complete.
    pub fn ready(outcome: Outcome) -> Self {
        Self::new(stream::once(std::future::ready(Event::Done(outcome))))
    }

    /// A reply with an outcome and no other event.
    pub fn once(outcome: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self::new(stream::once(outcome).map(Event::Done))
    }

    /// Waits for the outcome and lets everything else pass unseen.
    pub async fn outcome(mut self) -> Outcome {
        while let Some(event) = self.next().await {
            if let Event::Done(outcome) = event {
                return outcome;
            }
        }
        Err(Error::new(ErrorKind::Internal, "reply ended without an outcome"))
    }
}

impl Stream for Reply {
    type Item = Event;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.done {
            return Poll::Ready(None);
        }
        let event = std::task::ready!(self.stream.poll_next_unpin(context))
            .unwrap_or_else(|| Event::Done(Err(Error::new(ErrorKind::Internal, "reply ended without an outcome"))));
        self.done = matches!(event, Event::Done(_));
        Poll::Ready(Some(event))
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("done", &self.done).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn exactly_one_done_and_it_is_last() {
        let empty = Reply::new(stream::empty()).collect::<Vec<_>>().await;
        assert!(matches!(empty.as_slice(), [Event::Done(Err(error))] if error.kind == ErrorKind::Internal));
        let twice = Reply::new(stream::iter([Event::Done(Ok(Json::empty_object())), Event::Done(Ok(Json::default()))]));
        assert_eq!(twice.collect::<Vec<_>>().await, [Event::Done(Ok(Json::empty_object()))]);
    }
}
