//! What a connection is doing, so that a silent or stuck one can be closed.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::server::ConnectionLimits;

/// How often a connection is looked at: its time-outs are exact to half of the shorter one.
pub(super) fn tick(limits: &ConnectionLimits) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(10);
    (limits.header_read_timeout.min(limits.idle_timeout) / 2).max(SHORTEST)
}

/// The state of one connection.
pub(super) struct Watch(Mutex<State>);

struct State {
    requests: usize,
    idle_since: Instant,
    head_since: Option<Instant>,
    stalled_since: Option<Instant>,
}

/// One request, until its response has been sent or given up.
pub(super) struct Busy(Arc<Watch>);

impl Watch {
    pub(super) fn new() -> Self {
        let state = State { requests: 0, idle_since: Instant::now(), head_since: None, stalled_since: None };
        Self(Mutex::new(state))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's headers are complete.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        let mut state = self.state();
        state.requests += 1;
        state.head_since = None;
        Busy(self.clone())
    }

    fn on_read(&self) {
        let mut state = self.state();
        if state.requests == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    fn on_write(&self, pending: bool) {
        let mut state = self.state();
        state.stalled_since = match (pending, state.stalled_since) {
            (false, _) => None,
            (true, Some(since)) => Some(since),
            (true, None) => Some(Instant::now()),
        };
    }

    /// Why the connection must be closed, if it must.
    pub(super) fn overdue(&self, limits: &ConnectionLimits) -> Option<&'static str> {
        let state = self.state();
        if state.stalled_since.is_some_and(|since| since.elapsed() >= limits.idle_timeout) {
            return Some("the peer does not read");
        }
        if state.requests > 0 {
            return None;
        }
        match state.head_since {
            Some(since) if since.elapsed() >= limits.header_read_timeout => Some("headers did not arrive in time"),
            None if state.idle_since.elapsed() >= limits.idle_timeout => Some("idle"),
            Some(_) | None => None,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        state.idle_since = Instant::now();
    }
}

/// A stream that reports to its watch.
pub(super) struct Watched<S> {
    stream: S,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: Arc<Watch>) -> Self {
        Self { stream, watch }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.on_read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch.on_write(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.on_write(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A response's body, which keeps its connection busy.
pub(super) struct Counted {
    body: Body,
    _busy: Busy,
}

impl Counted {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
