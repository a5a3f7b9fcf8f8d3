//! Handlers that do what a test needs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use spanwire_model::{BusHandler, BusReply, BusRequest, Error, Frame};
use tokio::sync::watch;

/// A handler from a function.
pub(super) struct Handler<F>(pub(super) F);

impl<F> BusHandler for Handler<F>
where
    F: Fn(BusRequest) -> BoxStream<'static, Frame> + Send + Sync + 'static,
{
    fn handle(&self, request: BusRequest) -> BoxStream<'static, Frame> {
        (self.0)(request)
    }
}

pub(super) fn handler(
    handle: impl Fn(BusRequest) -> BoxStream<'static, Frame> + Send + Sync + 'static,
) -> Arc<dyn BusHandler> {
    Arc::new(Handler(handle))
}

/// Answers with what it was sent.
pub(super) fn echo() -> Arc<dyn BusHandler> {
    handler(|request| stream::iter([end(request.payload)]).boxed())
}

/// Answers with a name.
pub(super) fn named(name: &'static str) -> Arc<dyn BusHandler> {
    handler(move |_| stream::iter([end(name)]).boxed())
}

/// Yields the frames and then nothing, for ever. The watch turns true when a stream of it is dropped.
pub(super) fn stuck_after(frames: Vec<Frame>) -> (Arc<dyn BusHandler>, Signal, Signal) {
    let (started, dropped) = (Signal::default(), Signal::default());
    let (on_start, on_drop) = (started.clone(), dropped.clone());
    let handler = handler(move |_| {
        let flag = SetOnDrop(on_drop.clone());
        on_start.set();
        stream::iter(frames.clone())
            .chain(stream::pending())
            .map(move |frame| {
                let _alive = &flag;
                frame
            })
            .boxed()
    });
    (handler, started, dropped)
}

/// Something that happens once and can be waited for.
#[derive(Clone)]
pub(super) struct Signal(Arc<watch::Sender<bool>>);

impl Default for Signal {
    fn default() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }
}

impl Signal {
    pub(super) fn set(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) async fn happened(&self) {
        self.0.subscribe().wait_for(|set| *set).await.unwrap();
    }
}

pub(super) struct SetOnDrop(pub(super) Signal);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

pub(super) fn message(payload: impl Into<Bytes>) -> Frame {
    Frame::Message(payload.into())
}

pub(super) fn progress(payload: impl Into<Bytes>) -> Frame {
    Frame::Progress(payload.into())
}

/// An end as a handler makes it: the elapsed time is the backbone's to fill in.
pub(super) fn end(payload: impl Into<Bytes>) -> Frame {
    Frame::End { payload: payload.into(), elapsed: Duration::MAX }
}

/// The next frame, which must be there.
pub(super) async fn next(reply: &mut BusReply) -> Frame {
    reply.next().await.expect("reply ended").expect("reply failed")
}

/// The response, and nothing before it.
pub(super) async fn response(mut reply: BusReply) -> Bytes {
    match next(&mut reply).await {
        Frame::End { payload, .. } => {
            assert!(reply.next().await.is_none(), "something after the end");
            payload
        }
        other => panic!("not an end: {other:?}"),
    }
}

/// The error that ends a reply, after any frames.
pub(super) async fn failure(mut reply: BusReply) -> Error {
    while let Some(item) = reply.next().await {
        match item {
            Ok(Frame::End { .. }) => panic!("it succeeded"),
            Ok(_) => {}
            Err(error) => {
                assert!(reply.next().await.is_none(), "something after the error");
                return error;
            }
        }
    }
    panic!("reply ended without an error");
}
