//! From a command to its outcome: published until the log has it, then applied here.
//!
//! One operation id throughout. Where an attempt's end is unknown the next one settles it: the log may then hold the command
//! twice, and the applier applies it once. The entry may also arrive before its acknowledgement, or instead of it.

use std::time::Duration;

use bytes::Bytes;
use spanwire_model::{Command, Error, ErrorKind, Receipt, Result, Shard, TraceContext};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{
    Inner,
    log::{Log, MAX_IN_FLIGHT},
    publish::{Published, publish},
    waiting::Waiter,
};
use crate::{prepare, wire::Message};

/// How long one attempt waits for its acknowledgement.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before the second attempt; doubles from there.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Bytes of a message's headers, at most.
const HEADER_BYTES: usize = 1024;

/// How an append went, for its span.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Course {
    /// How often it was published.
    pub(super) attempts: u32,
    /// Whether an attempt may have reached the log without our knowledge.
    pub(super) ambiguous: bool,
}

/// A command on its way.
struct Journey<'a> {
    inner: &'a Inner,
    log: &'a Log,
    operation: Uuid,
    /// What the server knows the message by.
    id: String,
    waiter: Waiter<'a>,
    deadline: Instant,
}

/// Appends a command.
pub(super) async fn append(
    inner: &Inner,
    log: &Log,
    command: Command,
    trace: &TraceContext,
    deadline: Instant,
    course: &mut Course,
) -> Result<Receipt> {
    let operation = command.operation;
    let payload = encode(inner, log.shard, command)?;
    let waiter = log.waiting.wait(operation);
    // Whoever asks again is told, whether or not the log can be reached.
    if log.is_trusted()
        && let Some(receipt) = inner.applier.outcome(log.shard, operation)?
    {
        return Ok(receipt);
    }
    // An earlier attempt may still be in the log, or on its way there: this one must not say that it is not.
    let doubtful = log.unsettled.contains(operation);
    course.ambiguous = doubtful;
    let honest = |error: Error| match doubtful {
        true => out_of_time(log.shard, true, &error.public),
        false => error,
    };
    log.check_writable().map_err(honest)?;
    let _permit = log.in_flight.try_acquire().map_err(|_| {
        let text = format!("{MAX_IN_FLIGHT} appends to {} are on the way already", log.shard);
        honest(Error::new(ErrorKind::Overloaded, text))
    })?;
    let mut fate = log.unsettled.watch(operation);
    let mut journey = Journey { inner, log, operation, id: operation.to_string(), waiter, deadline };
    let mut pause = PAUSE_MIN;
    loop {
        course.attempts += 1;
        fate.sent();
        let within = ATTEMPT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let published = tokio::select! {
            biased;
            receipt = &mut journey.waiter.receipt => return fate.settled(receipt.map_err(|_| closed(log.shard))),
            published = publish(&inner.streams, log.shard, &journey.id, Some(trace), payload.clone(), within) => published,
        };
        let reason = match journey.settle(published, course).await {
            Ok(Ok(receipt)) => return fate.settled(Ok(receipt)),
            Ok(Err(reason)) => reason,
            // Nothing of it is in the log.
            Err(error) if error.kind == ErrorKind::Unavailable && !course.ambiguous => return fate.settled(Err(error)),
            Err(error) => return Err(error),
        };
        let next = Instant::now() + spanwire_nats::jittered(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        match timeout_at(next.min(deadline), &mut journey.waiter.receipt).await {
            Ok(receipt) => return fate.settled(receipt.map_err(|_| closed(log.shard))),
            Err(_) if Instant::now() >= deadline => {
                let error = out_of_time(log.shard, course.ambiguous, &reason);
                return if course.ambiguous { Err(error) } else { fate.settled(Err(error)) };
            }
            Err(_) => {}
        }
    }
}

impl Journey<'_> {
    /// What an attempt has come to: a receipt, or why it has to be tried again.
    async fn settle(
        &mut self,
        published: Published,
        course: &mut Course,
    ) -> Result<std::result::Result<Receipt, String>> {
        let log = self.log;
        match published {
            Published::At(sequence) => {
                log.contact();
                log.reached(sequence);
                course.ambiguous = true;
                if let Some(receipt) = self.applied(sequence).await? {
                    return Ok(Ok(receipt));
                }
                // The server knows the operation for longer than we do here: to it this is another message.
                self.id = format!("{}.{sequence}.{}", self.operation, course.attempts);
                Ok(Err(format!("entry {sequence} is not what was appended")))
            }
            Published::Refused(reason) if !course.ambiguous => {
                let text = format!("the log of {} refused the entry: {reason}", log.shard);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
            Published::NotNow(reason) => {
                if !course.ambiguous {
                    log.check_writable()?;
                }
                Ok(Err(reason))
            }
            Published::Refused(reason) => Ok(Err(reason)),
            Published::Unknown(reason) => {
                course.ambiguous = true;
                Ok(Err(reason))
            }
        }
    }

    /// Waits until the entry is applied here; `None` when another one is in its place.
    async fn applied(&mut self, sequence: u64) -> Result<Option<Receipt>> {
        let (log, operation) = (self.log, self.operation);
        let mut applied = self.inner.applier.applied(log.shard)?;
        let reached = async {
            // An error is the end of the ledger: nothing is applied any more.
            if applied.wait_for(|applied| *applied >= sequence).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            receipt = &mut self.waiter.receipt => Ok(Some(receipt.map_err(|_| closed(log.shard))?)),
            // Its operation had been appended before, or a snapshot brought it.
            () = reached => Ok(self.inner.applier.outcome(log.shard, operation)?),
            () = tokio::time::sleep_until(self.deadline) => {
                Err(out_of_time(log.shard, true, &format!("entry {sequence} is not applied on this node yet")))
            }
        }
    }
}

/// Puts a message of the ledger's own into the log, and returns its sequence.
pub(super) async fn append_own(inner: &Inner, log: &Log, message: &Message, deadline: Instant) -> Result<u64> {
    let (payload, id) = (message.encode(), message.operation.to_string());
    loop {
        let within = ATTEMPT_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
        let reason = match publish(&inner.streams, log.shard, &id, None, payload.clone(), within).await {
            Published::At(sequence) => {
                log.contact();
                log.reached(sequence);
                return Ok(sequence);
            }
            Published::Refused(reason) | Published::NotNow(reason) | Published::Unknown(reason) => reason,
        };
        log.check_writable()?;
        if Instant::now() >= deadline {
            let text = format!("the log of {} did not take an entry in time: {reason}", log.shard);
            return Err(Error::new(ErrorKind::DeadlineExceeded, text));
        }
        sleep(spanwire_nats::jittered(PAUSE_MIN)).await;
    }
}

fn encode(inner: &Inner, shard: Shard, command: Command) -> Result<Bytes> {
    let payload = prepare::payload(shard, &*inner.applier.cell(shard)?.machine, command)?;
    let limit = inner.streams.client().max_payload().saturating_sub(HEADER_BYTES);
    if payload.len() > limit {
        let text = format!("a command of {} bytes to {shard} is above what nats takes: {limit}", payload.len());
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    Ok(payload)
}

fn out_of_time(shard: Shard, ambiguous: bool, reason: &str) -> Error {
    if ambiguous {
        let text = format!(
            "the log of {shard} did not confirm the entry in time ({reason}): append the same operation again to find out"
        );
        return Error::new(ErrorKind::DeadlineExceeded, text);
    }
    Error::new(ErrorKind::Unavailable, format!("the log of {shard} took no entry in time: {reason}"))
}

fn closed(shard: Shard) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("the node closed while an entry of {shard} was on its way"))
}
