//! Two ways to make calls. A closed loop finds out how much goes through; an open loop how long a caller waits when calls
//! come at a given rate. Only the second sees what a stall does to those who come meanwhile: a call is due at a fixed time,
//! and its latency counts from then, sent or not (no coordinated omission).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{sync::Semaphore, task::JoinSet};

use super::client::{Client, Payload};

/// A worker that saw this many wrong or missing answers stops.
const MAX_ERRORS_PER_WORKER: u64 = 8;
/// A loop ends at the latest after this many calls.
const MAX_CALLS: u64 = 50_000_000;
/// How long after its last due call an open loop still waits for the answers.
const GRACE: Duration = Duration::from_secs(5);
const SHORTEST_LATENCY_NS: u64 = 1_000;
const LONGEST_LATENCY_NS: u64 = 120_000_000_000;

/// What a loop saw.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Right answers.
    pub(super) calls: u64,
    /// Wrong, failed, late beyond [`GRACE`], or never sent.
    pub(super) errors: u64,
    /// The first of them.
    pub(super) first_error: Option<String>,
    /// From the start to the last answer.
    pub(super) elapsed: Duration,
    /// In nanoseconds, of the right answers.
    pub(super) latency: Histogram<u64>,
    start: Instant,
}

impl Sample {
    /// Starts now.
    fn start() -> anyhow::Result<Self> {
        let latency = Histogram::new_with_bounds(SHORTEST_LATENCY_NS, LONGEST_LATENCY_NS, 3)?;
        let start = Instant::now();
        Ok(Self { calls: 0, errors: 0, first_error: None, elapsed: Duration::ZERO, latency, start })
    }

    fn record(&mut self, outcome: anyhow::Result<()>, latency: Duration) {
        self.elapsed = self.start.elapsed();
        match outcome {
            Ok(()) => {
                self.calls += 1;
                self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_LATENCY_NS));
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.elapsed = self.elapsed.max(other.elapsed);
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
    }
}

/// Each client calls, waits for the answer and calls again, until the time is over.
pub(super) async fn closed(
    clients: &mut Vec<Client>,
    payload: &Arc<Payload>,
    duration: Duration,
) -> anyhow::Result<Sample> {
    let empty = Sample::start()?;
    let start = empty.start;
    let quota = MAX_CALLS / clients.len().max(1) as u64;
    let mut tasks = JoinSet::new();
    for mut client in clients.drain(..) {
        let (payload, mut sample) = (Arc::clone(payload), empty.clone());
        tasks.spawn(async move {
            while start.elapsed() < duration && sample.calls < quota {
                let sent = Instant::now();
                let outcome = client.call(&payload).await;
                if !carry_on(&mut client, &mut sample, outcome, sent).await {
                    break;
                }
            }
            (client, sample)
        });
    }
    Ok(gather(tasks, empty, clients).await)
}

/// Calls are due at a fixed rate for the given time; whichever client is free takes the next one.
pub(super) async fn open(
    clients: &mut Vec<Client>,
    payload: &Arc<Payload>,
    per_second: u32,
    duration: Duration,
) -> anyhow::Result<Sample> {
    let interval = Duration::from_secs(1) / per_second.max(1);
    let total = u64::try_from(duration.as_nanos() / interval.as_nanos().max(1)).unwrap_or(MAX_CALLS).min(MAX_CALLS);
    let empty = Sample::start()?;
    let start = empty.start;
    let due_at = move |number: u64| start + interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
    let give_up = tokio::time::Instant::from_std(due_at(total) + GRACE);

    let due = Arc::new(Semaphore::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut client in clients.drain(..) {
        let (payload, due, next) = (Arc::clone(payload), Arc::clone(&due), Arc::clone(&next));
        let mut sample = empty.clone();
        tasks.spawn(async move {
            while let Ok(Ok(permit)) = tokio::time::timeout_at(give_up, due.acquire()).await {
                permit.forget();
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    break;
                }
                let outcome = match tokio::time::timeout_at(give_up, client.call(&payload)).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(anyhow::anyhow!("call {number} was still open {GRACE:?} after the last was due")),
                };
                if !carry_on(&mut client, &mut sample, outcome, due_at(number)).await {
                    break;
                }
            }
            (client, sample)
        });
    }
    let workers = tasks.len() as u64;
    let pacer = tokio::task::spawn_blocking(move || pace(&due, total, workers, due_at));
    let mut sample = gather(tasks, empty, clients).await;
    // The pacer only sleeps until the last call is due, and that time is over.
    let _ = pacer.await;
    let seen = sample.calls + sample.errors;
    if seen < total {
        sample.errors += total - seen;
        sample.first_error.get_or_insert_with(|| format!("{} of {total} calls were never sent", total - seen));
    }
    Ok(sample)
}

/// Releases a permit when a call is due; at the end one for each worker, so that all of them wake and stop. A thread of its
/// own, since tokio's timers tick in milliseconds and this one in some fifty microseconds.
fn pace(due: &Semaphore, total: u64, workers: u64, due_at: impl Fn(u64) -> Instant) {
    for number in 0..total {
        let wait = due_at(number).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        due.add_permits(1);
    }
    due.add_permits(usize::try_from(workers).unwrap_or(usize::MAX));
}

/// Books a call. After a failure the connection may be in any state: take a new one. `false` when that is no use.
async fn carry_on(client: &mut Client, sample: &mut Sample, outcome: anyhow::Result<()>, since: Instant) -> bool {
    let failed = outcome.is_err();
    sample.record(outcome, since.elapsed());
    if !failed {
        return true;
    }
    if sample.errors >= MAX_ERRORS_PER_WORKER {
        return false;
    }
    match client.reconnect().await {
        Ok(fresh) => {
            *client = fresh;
            true
        }
        Err(_) => false,
    }
}

async fn gather(mut tasks: JoinSet<(Client, Sample)>, mut sum: Sample, clients: &mut Vec<Client>) -> Sample {
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((client, sample)) => {
                clients.push(client);
                sum.merge(sample);
            }
            Err(error) => sum.record(Err(error.into()), Duration::ZERO),
        }
    }
    sum
}

#[cfg(test)]
mod tests;
