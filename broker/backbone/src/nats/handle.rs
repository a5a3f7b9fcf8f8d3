//! One request on the node that handles it: from the parts of its payload to the last frame of its reply.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use spanwire_model::{BusHandler, BusRequest, Error, ErrorKind, Frame, Result};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    envelope::Announced,
    frame::Kind,
    inner::{Inner, Unsent},
    outbox::Outbox,
    parts::{Assembly, Broken, Part, Splitter},
    running::{Control, NumberedPart},
};
use crate::{
    backlog::{self, Backlog},
    budget,
    failure::{self, Whom},
    gauge::Running,
};

/// A request that was accepted.
pub(super) struct Job {
    pub(super) request: BusRequest,
    pub(super) key: String,
    pub(super) control: Arc<Control>,
    pub(super) announced: Option<Announced>,
    pub(super) parts: mpsc::Receiver<NumberedPart>,
    pub(super) outbox: Outbox,
    pub(super) handling: Running,
}

/// Why the work on a request ended.
enum Ended {
    /// With the last frame.
    Well,
    /// The caller is told.
    Failed(Error),
    /// There is nobody to tell.
    Unheard,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Unsent> for Ended {
    fn from(unsent: Unsent) -> Self {
        tracing::debug!(%unsent, "reply given up");
        Self::Unheard
    }
}

/// Runs until the reply, the caller, the budget or the node ends.
pub(super) async fn run(inner: Arc<Inner>, handler: Arc<dyn BusHandler>, job: Job) {
    let received = Instant::now();
    let Job { request, key, control, announced, parts, mut outbox, handling } = job;
    let listed = inner.running.listed(&key);
    let deadline = budget::deadline(request.budget);
    let whom = failure::here(request.server.as_ref(), inner.config.node());
    let work = Work { inner: &inner, control: &control, outbox: &mut outbox, whom: &whom, received };
    let work = AssertUnwindSafe(work.run(handler, request, announced, parts)).catch_unwind();
    let ended = tokio::select! {
        biased;
        () = inner.closed.cancelled() => Ended::Failed(failure::closing(inner.config.node())),
        () = control.cancelled.cancelled() => Ended::Unheard,
        () = sleep_until(deadline) => Ended::Failed(failure::deadline(&whom)),
        ended = Box::pin(work) => ended.unwrap_or_else(|_| Ended::Failed(failure::panicked(&whom))),
    };
    match ended {
        Ended::Well | Ended::Unheard => {}
        Ended::Failed(error) => outbox.fail(&error).await,
    }
    drop(listed);
    drop(handling);
}

struct Work<'a> {
    inner: &'a Inner,
    control: &'a Control,
    outbox: &'a mut Outbox,
    whom: &'a Whom,
    received: Instant,
}

impl Work<'_> {
    async fn run(
        mut self,
        handler: Arc<dyn BusHandler>,
        mut request: BusRequest,
        announced: Option<Announced>,
        parts: mpsc::Receiver<NumberedPart>,
    ) -> Ended {
        if let Some(announced) = announced {
            match self.collect(&announced, std::mem::take(&mut request.payload), parts).await {
                Ok(payload) => request.payload = payload,
                Err(ended) => return ended,
            }
            request.budget = request.budget.saturating_sub(self.received.elapsed());
        }
        match self.answer(handler.handle(request)).await {
            Ok(()) => Ended::Well,
            Err(ended) => ended,
        }
    }

    /// Takes the parts of a large request, and says after each how far it is.
    async fn collect(
        &mut self,
        announced: &Announced,
        first: Bytes,
        mut parts: mpsc::Receiver<NumberedPart>,
    ) -> Result<Bytes, Ended> {
        let (limit, lost_after) = (self.inner.config.max_message_bytes, self.inner.config.lost_after);
        if announced.whole.size > limit {
            return Err(failure::too_large("request", announced.whole.size, limit).into());
        }
        let mut assembly = Assembly::new(announced.whole.size);
        assembly.push(&first).map_err(|broken| self.broken(&broken))?;
        for expected in 2..=announced.parts {
            self.outbox.alive(expected - 1, false).await?;
            let Ok(Some((number, part))) = timeout(lost_after, parts.recv()).await else {
                return Err(self.request_lost(format_args!("part {expected} did not come")).into());
            };
            if number != expected {
                return Err(self.request_lost(format_args!("part {expected} is missing")).into());
            }
            if expected == announced.parts {
                return assembly.finish(part, Some(&announced.whole)).map_err(|broken| self.broken(&broken));
            }
            assembly.push(&part).map_err(|broken| self.broken(&broken))?;
        }
        Err(self.request_lost("it has no parts").into())
    }

    fn request_lost(&self, why: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::StreamLost, format!("request to {} broke off: {why}", self.whom))
    }

    fn broken(&self, broken: &Broken) -> Ended {
        self.request_lost(broken).into()
    }

    /// Sends what the handler makes, as far as the caller has room for it.
    async fn answer(&mut self, mut made: BoxStream<'static, Frame>) -> Result<(), Ended> {
        let limit = self.inner.config.max_message_bytes;
        let max_part = self.inner.max_part().min(self.control.window().max_frame());
        let mut backlog = Backlog::default();
        let mut outgoing: Option<Outgoing> = None;
        loop {
            if self.send_what_fits(&mut outgoing, &mut backlog, max_part).await? {
                return Ok(());
            }
            let blocked = outgoing.is_some() || !backlog.is_empty();
            tokio::select! {
                biased;
                () = self.control.room.notified(), if blocked => {}
                () = sleep_until(self.outbox.last_sent() + self.inner.config.keep_alive) => {
                    self.outbox.alive(0, blocked).await?;
                }
                frame = made.next(), if backlog.wants_more() => {
                    let frame = frame.ok_or_else(|| failure::no_end(self.whom))?;
                    let size = backlog::payload(&frame).len();
                    if size > limit {
                        return Err(failure::too_large("reply", size, limit).into());
                    }
                    backlog.push(frame);
                }
            }
        }
    }

    /// True when the last frame has been sent.
    async fn send_what_fits(
        &mut self,
        outgoing: &mut Option<Outgoing>,
        backlog: &mut Backlog,
        max_part: usize,
    ) -> Result<bool, Ended> {
        loop {
            let next_len = match outgoing {
                Some(outgoing) => outgoing.payload.next_len(max_part),
                None => match backlog.next_len() {
                    Some(len) => len.min(max_part),
                    None => return Ok(false),
                },
            };
            {
                let mut window = self.control.window();
                if !window.has_room(next_len) {
                    return Ok(false);
                }
                window.sent(next_len);
            }
            let mut current = match outgoing.take() {
                Some(current) => current,
                None => match backlog.pop() {
                    Some(frame) => Outgoing::new(frame),
                    None => return Ok(false),
                },
            };
            match current.payload.next(max_part) {
                Part::More(part) => {
                    self.outbox.send(Kind::Part, part, None).await?;
                    *outgoing = Some(current);
                }
                Part::Last(part, whole) => {
                    let (kind, last) = match current.kind {
                        Kind::End { .. } => (Kind::End { elapsed: self.received.elapsed() }, true),
                        kind => (kind, false),
                    };
                    self.outbox.send(kind, part, whole).await?;
                    if last {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

/// A frame of which some parts may have gone already.
struct Outgoing {
    kind: Kind,
    payload: Splitter,
}

impl Outgoing {
    fn new(frame: Frame) -> Self {
        let (kind, payload) = match frame {
            Frame::Progress(payload) => (Kind::Progress, payload),
            Frame::Message(payload) => (Kind::Message, payload),
            Frame::End { payload, elapsed } => (Kind::End { elapsed }, payload),
        };
        Self { kind, payload: Splitter::new(payload) }
    }
}
