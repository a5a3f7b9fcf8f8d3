//! The calling side of a request.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use spanwire_model::{Address, BusReply, BusRequest, Error, ErrorKind, Frame, Result};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    envelope::{self, Announced},
    frame::{Head, Kind},
    header,
    inner::{Inner, Unsent},
    parts::{Assembly, Broken, Whole},
    slot::{Lost, Next, Slot},
    window::{Amount, Taken},
};
use crate::{
    budget,
    failure::{self, Whom},
    gauge::Running,
};

/// How much longer than the handling node the caller waits: that node's own error says more.
const GRACE: Duration = Duration::from_millis(500);
/// Payloads above this are hashed on a thread that may block.
const HASH_HERE_BYTES: usize = 1 << 20;
/// Parts of a request on the way, whatever the window.
pub(super) const MAX_PARTS_AHEAD: usize = 64;
/// Longest text of an error from another node, in bytes.
const MAX_ERROR_TEXT: usize = 4096;

/// Nothing happens before the first poll.
pub(super) fn send(inner: Arc<Inner>, to: Address, request: BusRequest) -> BusReply {
    let deadline = budget::deadline(request.budget);
    async_stream::stream! {
        let mut call = match Call::open(inner, to, request, deadline).await {
            Ok(call) => call,
            Err(error) => {
                yield Err(error);
                return;
            }
        };
        loop {
            let item = call.next().await;
            let last = matches!(item, Err(_) | Ok(Frame::End { .. }));
            if last {
                call.finish();
            }
            yield item;
            if last {
                return;
            }
        }
    }
    .boxed()
}

/// A request that was sent. Dropping it before its end cancels it.
struct Call {
    inner: Arc<Inner>,
    to: Address,
    key: String,
    slot: Arc<Slot>,
    whom: Whom,
    deadline: Instant,
    taken: Taken,
    assembly: Assembly,
    /// Set once the other side may have heard of it.
    sent: bool,
    /// Set when the other side knows that it is over.
    ended: bool,
    waiting: Option<Running>,
}

impl Call {
    async fn open(inner: Arc<Inner>, to: Address, request: BusRequest, deadline: Instant) -> Result<Self> {
        let whom = Whom::of(&to, request.server.as_ref());
        let limit = inner.config.max_message_bytes;
        if request.payload.len() > limit {
            return Err(failure::too_large("request", request.payload.len(), limit));
        }
        if !inner.is_connected() {
            return Err(failure::not_connected(&whom));
        }
        let window = inner.offered_window();
        let mut call = Self {
            key: inner.new_key(request.call_id),
            slot: Arc::new(Slot::new(usize::try_from(window.frames).unwrap_or(usize::MAX))),
            whom,
            deadline,
            taken: Taken::new(window),
            assembly: Assembly::new(limit),
            sent: false,
            ended: false,
            waiting: Some(inner.in_flight.requests.enter()),
            to,
            inner,
        };
        call.inner.wait_for(&call.key, call.slot.clone());
        match timeout_at(deadline, Box::pin(call.send(request, window))).await {
            Ok(outcome) => outcome.map(|()| call),
            Err(_) => Err(failure::deadline(&call.whom)),
        }
    }

    async fn send(&mut self, request: BusRequest, window: Amount) -> Result<()> {
        if request.payload.len() > self.inner.max_payload() {
            return self.send_in_parts(request, window).await;
        }
        self.send_first(&request, window, None, request.payload.clone()).await
    }

    async fn send_first(
        &mut self,
        request: &BusRequest,
        window: Amount,
        announced: Option<&Announced>,
        payload: Bytes,
    ) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failure::deadline(&self.whom));
        }
        let headers = envelope::encode(&self.to, request, left, window, announced);
        let subject = self.inner.subjects.request(&self.to, request);
        let inbox = self.inner.subjects.inbox(&self.key).into();
        self.sent = true;
        let sent = self.inner.publish(subject, Some(inbox), headers, payload).await;
        sent.map_err(|unsent| self.unsent(unsent))
    }

    /// The first part finds a node; the others go to that node, as fast as it takes them.
    async fn send_in_parts(&mut self, request: BusRequest, window: Amount) -> Result<()> {
        let mut rest = request.payload.clone();
        let max_part = self.inner.max_part();
        let parts = u32::try_from(rest.len().div_ceil(max_part)).unwrap_or(u32::MAX);
        let whole = whole_of(rest.clone()).await?;
        let announced = Announced { parts, whole };
        self.send_first(&request, window, Some(&announced), rest.split_to(max_part)).await?;
        let ahead = u32::try_from((self.inner.config.window_bytes / max_part).clamp(1, MAX_PARTS_AHEAD)).unwrap_or(1);
        for part in 2..=parts {
            let needed = part.saturating_sub(ahead).max(1);
            let has_them = self.slot.got(needed, self.inner.config.lost_after).await;
            if !has_them.map_err(|lost| self.lost(lost))? {
                return Ok(()); // it answers without the rest: with an error, most likely
            }
            let Some(node) = self.slot.node() else { return Err(self.lost(Lost::Malformed)) };
            let mut headers = header::new();
            header::put(&mut headers, header::CONTROL, "part");
            header::put(&mut headers, header::PART, part.to_string());
            let payload = rest.split_to(rest.len().min(max_part));
            let sent = self.inner.publish(self.inner.subjects.control(&node, &self.key), None, headers, payload).await;
            sent.map_err(|unsent| self.lost_with(unsent))?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Frame> {
        loop {
            let next = tokio::select! {
                biased;
                next = self.slot.next(self.inner.config.lost_after) => next,
                () = self.inner.closed.cancelled() => return Err(failure::closing(self.inner.config.node())),
                () = sleep_until(self.deadline + GRACE) => return Err(failure::deadline(&self.whom)),
            };
            match next {
                Err(lost) => {
                    self.ended |= lost == Lost::Nobody; // there is nobody to cancel
                    return Err(self.lost(lost));
                }
                Ok(Next::Starved) => self.tell().await,
                Ok(Next::Frame(head, payload)) => {
                    if let Some(frame) = self.take(head, payload).await? {
                        return Ok(frame);
                    }
                }
            }
        }
    }

    async fn take(&mut self, head: Head, payload: Bytes) -> Result<Option<Frame>> {
        let last = matches!(head.kind, Kind::End { .. } | Kind::Failed(_));
        self.ended |= last;
        if self.taken.take(payload.len()) && !last {
            self.tell().await;
        }
        if let Some(node) = head.node {
            self.whom.taken_by(node);
        }
        let frame = match head.kind {
            Kind::Part => {
                self.assembly.push(&payload).map_err(|broken| self.broken(&broken))?;
                return Ok(None);
            }
            Kind::Alive { .. } => return Ok(None),
            Kind::Failed(kind) => return Err(remote_error(kind, &payload)),
            Kind::Progress => Frame::Progress(self.finish_parts(payload, head.whole.as_ref())?),
            Kind::Message => Frame::Message(self.finish_parts(payload, head.whole.as_ref())?),
            Kind::End { elapsed } => Frame::End { payload: self.finish_parts(payload, head.whole.as_ref())?, elapsed },
        };
        Ok(Some(frame))
    }

    fn finish_parts(&mut self, last: Bytes, whole: Option<&Whole>) -> Result<Bytes> {
        self.assembly.finish(last, whole).map_err(|broken| self.broken(&broken))
    }

    /// Tells the other side what has been taken. When it cannot be told now, it will ask.
    async fn tell(&mut self) {
        let Some(node) = self.slot.node() else { return };
        let amount = self.taken.tell();
        let mut headers = header::new();
        header::put(&mut headers, header::CONTROL, "credit");
        header::put(&mut headers, header::TAKEN, format!("{} {}", amount.frames, amount.bytes));
        let subject = self.inner.subjects.control(&node, &self.key);
        if let Err(unsent) = self.inner.publish(subject, None, headers, Bytes::new()).await {
            tracing::debug!(%unsent, key = self.key, "credit not sent");
        }
    }

    fn lost(&self, lost: Lost) -> Error {
        let mut whom = self.whom.clone();
        if let Some(node) = self.slot.node() {
            whom.taken_by(node);
        }
        if lost == Lost::Nobody { failure::nobody(&whom) } else { failure::lost(&whom, lost) }
    }

    fn lost_with(&self, unsent: Unsent) -> Error {
        failure::lost(&self.whom, unsent)
    }

    fn unsent(&mut self, unsent: Unsent) -> Error {
        match unsent {
            Unsent::NotConnected => failure::not_connected(&self.whom),
            Unsent::TooLarge => {
                Error::new(ErrorKind::TooLarge, format!("request to {} is above the nats server's limit", self.whom))
            }
            Unsent::Refused(_) => {
                Error::new(ErrorKind::Internal, format!("request to {} not sent", self.whom)).with_private(unsent)
            }
        }
    }

    fn broken(&self, broken: &Broken) -> Error {
        match broken {
            Broken::TooLarge => {
                let limit = self.inner.config.max_message_bytes;
                Error::new(ErrorKind::TooLarge, format!("reply from {} is above {limit} bytes", self.whom))
            }
            Broken::Size | Broken::Digest | Broken::Unannounced => failure::lost(&self.whom, broken),
        }
    }

    /// Nothing is waited for any more.
    fn finish(&mut self) {
        self.inner.stop_waiting(&self.key);
        self.waiting = None;
        if self.sent && !std::mem::replace(&mut self.ended, true) {
            self.cancel();
        }
    }

    /// Tells the other side to stop: the node that answers, or every node when none has answered yet.
    fn cancel(&self) {
        let subject = match (self.slot.node(), &self.to) {
            (Some(node), _) => self.inner.subjects.control(&node, &self.key),
            (None, Address::Node(node)) => self.inner.subjects.control(node, &self.key),
            (None, Address::Server(_)) => self.inner.subjects.control_anywhere(&self.key),
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let inner = self.inner.clone();
        self.inner.tasks.spawn_on(
            async move {
                let mut headers = header::new();
                header::put(&mut headers, header::CONTROL, "cancel");
                if let Err(unsent) = inner.publish(subject, None, headers, Bytes::new()).await {
                    tracing::debug!(%unsent, "cancellation not sent");
                }
            },
            &runtime,
        );
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn whole_of(payload: Bytes) -> Result<Whole> {
    if payload.len() <= HASH_HERE_BYTES {
        return Ok(Whole::of(&payload));
    }
    let hashed = tokio::task::spawn_blocking(move || Whole::of(&payload)).await;
    hashed.map_err(|error| Error::new(ErrorKind::Internal, "digest of the request failed").with_private(error))
}

fn remote_error(kind: ErrorKind, text: &[u8]) -> Error {
    let text = &text[..text.len().min(MAX_ERROR_TEXT)];
    Error::new(kind, String::from_utf8_lossy(text).into_owned())
}
