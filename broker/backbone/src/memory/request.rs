//! One request: the caller's stream, and the task on the serving node that feeds it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, StreamExt};
use spanwire_model::{Address, BusReply, BusRequest, Error, Frame, Result};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Node, Shared, seats::Seat};
use crate::{
    backlog::{self, Backlog},
    budget,
    failure::{self, Whom},
};

/// The caller's side. Nothing happens before the first poll.
pub(super) fn send(shared: Arc<Shared>, caller: Arc<Node>, to: Address, request: BusRequest) -> BusReply {
    let deadline = budget::deadline(request.budget);
    async_stream::stream! {
        let mut waiting = Some(caller.in_flight.requests.enter());
        let mut whom = Whom::of(&to, request.server.as_ref());
        let (seat, mut frames) = match open(&shared, &caller, &mut whom, &to, request, deadline) {
            Ok(opened) => opened,
            Err(error) => {
                yield Err(error);
                return;
            }
        };
        loop {
            let item = tokio::select! {
                biased;
                item = frames.recv() => item.unwrap_or_else(|| Err(broken_off(&seat, &whom))),
                () = caller.closed.cancelled() => Err(failure::closing(&caller.id)),
                () = sleep_until(deadline) => Err(failure::deadline(&whom)),
            };
            let last = matches!(item, Err(_) | Ok(Frame::End { .. }));
            if last {
                waiting = None;
            }
            yield item;
            if last {
                drop(waiting);
                return;
            }
        }
    }
    .boxed()
}

type Frames = mpsc::Receiver<Result<Frame>>;

fn open(
    shared: &Shared,
    caller: &Node,
    whom: &mut Whom,
    to: &Address,
    mut request: BusRequest,
    deadline: Instant,
) -> Result<(Seat, Frames)> {
    let limit = shared.config.max_message_bytes;
    if caller.closed.is_cancelled() {
        return Err(failure::not_connected(whom));
    }
    if request.payload.len() > limit {
        return Err(failure::too_large("request", request.payload.len(), limit));
    }
    let seat = shared.seats.pick(&caller.tenant, to).ok_or_else(|| failure::nobody(whom))?;
    if let Address::Server(server) = to {
        request.server = Some(server.clone());
    }
    request.budget = deadline.saturating_duration_since(Instant::now());
    if request.budget.is_zero() {
        return Err(failure::deadline(whom));
    }
    whom.taken_by(seat.node.id.clone());
    let (tx, frames) = mpsc::channel(shared.config.window_frames);
    seat.node.tasks.spawn(run(seat.clone(), request, tx, deadline, limit));
    Ok((seat, frames))
}

fn broken_off(seat: &Seat, whom: &Whom) -> Error {
    if seat.node.closed.is_cancelled() {
        failure::lost(whom, "the node is shutting down")
    } else {
        failure::no_end(whom)
    }
}

/// The serving side: a task of the serving node, which ends with the reply, with the caller or with the node.
async fn run(seat: Seat, request: BusRequest, tx: mpsc::Sender<Result<Frame>>, deadline: Instant, limit: usize) {
    let _handling = seat.node.in_flight.handling.enter();
    let whom = failure::here(request.server.as_ref(), &seat.node.id);
    let closed = seat.node.closed.clone();
    let pump = AssertUnwindSafe(pump(&seat, request, &tx, limit, &whom)).catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = closed.cancelled() => return,
        () = tx.closed() => return,
        () = sleep_until(deadline) => Err(failure::deadline(&whom)),
        outcome = pump => outcome.unwrap_or_else(|_| Err(failure::panicked(&whom))),
    };
    if let Err(error) = outcome {
        tokio::select! {
            () = closed.cancelled() => {}
            _ = tx.send(Err(error)) => {}
        }
    }
}

async fn pump(
    seat: &Seat,
    request: BusRequest,
    tx: &mpsc::Sender<Result<Frame>>,
    limit: usize,
    whom: &Whom,
) -> Result<()> {
    let started = Instant::now();
    let mut made = seat.handler.handle(request);
    let mut backlog = Backlog::default();
    loop {
        tokio::select! {
            biased;
            permit = tx.reserve(), if !backlog.is_empty() => {
                let (Ok(permit), Some(frame)) = (permit, backlog.pop()) else { return Ok(()) };
                match frame {
                    Frame::End { payload, .. } => {
                        permit.send(Ok(Frame::End { payload, elapsed: started.elapsed() }));
                        return Ok(());
                    }
                    Frame::Progress(_) | Frame::Message(_) => permit.send(Ok(frame)),
                }
            }
            frame = made.next(), if backlog.wants_more() => {
                let frame = frame.ok_or_else(|| failure::no_end(whom))?;
                let size = backlog::payload(&frame).len();
                if size > limit {
                    return Err(failure::too_large("reply", size, limit));
                }
                backlog.push(frame);
            }
        }
    }
}
