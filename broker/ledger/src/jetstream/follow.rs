//! One shard of this node and its log: found, compared, caught up with, followed; and again from the start after any trouble.

use std::{collections::BTreeSet, pin::Pin, sync::atomic::Ordering, time::Duration};

use futures::FutureExt;
use spanwire_model::{NodeId, Shard};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Inner, dispute,
    feed::{Delivered, Feed},
    log::{CONTACT_LOST, Log, Phase},
    rebuild::{self, Verdict, Wanted, Why},
    streams::{Facts, Trouble},
    voices::Voices,
};
use crate::{applier::Logged, error::ApplyError};

/// Pause before the log is tried again; doubles from there.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a log may take to say how it is, or to be made.
const REACH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a consumer may take to be made. JetStream's own limit is shorter; this one holds whatever happens.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long entries are asked for one by one, after a feed that brought nothing, until another feed is tried.
const POLL_FOR: Duration = Duration::from_secs(5);
/// How often the next entry is asked for meanwhile.
const POLL_EVERY: Duration = Duration::from_millis(50);
/// Feeds in a row that may begin with the same gap, before the entries in it count as lost.
const GAPS: u32 = 3;

/// Why following ended.
#[derive(Debug)]
enum End {
    /// Begin again, after a pause.
    Trouble(Trouble),
    /// Begin again at once.
    Again,
    /// This node can go no further.
    Stopped(String),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<ApplyError> for End {
    fn from(error: ApplyError) -> Self {
        Self::Stopped(error.to_string())
    }
}

/// What is remembered from one attempt to the next.
#[derive(Debug)]
struct Memory {
    /// Feeds that were opened.
    feeds: u64,
    /// The last feed could not be opened, or brought nothing though there was something.
    vain: bool,
    /// Since when there has been no feed.
    lost_since: Option<Instant>,
    /// Where a gap was found, and how often in a row.
    gap: Option<(u64, u32)>,
    /// The entry that was last found to be another one than was applied.
    disagreed: Option<u64>,
    /// That the view has to be made anew, and why.
    rebuild: Option<Wanted>,
    /// What the nodes say of their views.
    voices: Voices,
    /// The bases that views were made from since most agreed: sequences of snapshots, and 0 for none.
    bases: BTreeSet<u64>,
}

impl Memory {
    fn new(node: NodeId) -> Self {
        Self {
            feeds: 0,
            vain: false,
            lost_since: None,
            gap: None,
            disagreed: None,
            rebuild: None,
            voices: Voices::new(node),
            bases: BTreeSet::new(),
        }
    }
}

/// Follows a log for ever, or until it must stop.
pub(super) async fn run(inner: &Inner, log: &Log) {
    let mut pause = PAUSE_MIN;
    let mut memory = Memory::new(inner.options.node.clone());
    loop {
        let had_feed = memory.feeds;
        match follow(inner, log, &mut memory).await {
            Ok(never) => match never {},
            Err(End::Again) => {}
            Err(End::Trouble(trouble)) => {
                log.failed(&trouble);
                tracing::debug!(shard = %log.shard, "the log was lost: {trouble}");
                // Most are over before anybody notices.
                let lost = memory.lost_since.get_or_insert_with(Instant::now).elapsed();
                if matches!(log.phase(), Phase::Following | Phase::CatchingUp) && lost > CONTACT_LOST {
                    log.set_phase(Phase::CatchingUp, Some(trouble.to_string()));
                }
            }
            Err(End::Stopped(reason)) => {
                tracing::error!(shard = %log.shard, "stopped: {reason}");
                log.set_phase(Phase::Stopped, Some(reason));
                // Nothing but a new start of the node changes it.
                return std::future::pending().await;
            }
        }
        // One that could be opened was no vain attempt.
        if memory.feeds > had_feed {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = sleep(spanwire_nats::jittered(pause)) => pause = (pause * 2).min(PAUSE_MAX),
            // No need to wait any longer.
            () = log.returned.notified() => pause = PAUSE_MIN,
        }
    }
}

/// Follows until something ends it.
async fn follow(inner: &Inner, log: &Log, memory: &mut Memory) -> Result<std::convert::Infallible, End> {
    let shard = log.shard;
    if let Some(error) = inner.applier.stopped(shard)? {
        return Err(End::Stopped(error.to_string()));
    }
    let reached = timeout(REACH_TIMEOUT, reach(inner, log)).await;
    let facts = reached.unwrap_or_else(|_| Err(Trouble::NoAnswer("timed out".into()).into()))?;
    log.told(facts.clone());
    agree(inner, log, &facts, memory).await?;
    let mut feed = open(inner, log, &facts, memory).await?;
    let applied = inner.applier.position(shard)?.sequence;
    memory.lost_since = None;
    memory.feeds += 1;
    let target = facts.last;
    if applied >= target {
        log.set_phase(Phase::Following, inner.streams.note(&facts));
    }
    // What was said of the time before is settled.
    let _ = log.look_again.notified().now_or_never();
    log.feeds.fetch_add(1, Ordering::AcqRel);
    let mut brought = false;
    loop {
        weigh(inner, log, memory)?;
        let batch = {
            let next = feed.next();
            tokio::pin!(next);
            loop {
                tokio::select! {
                    batch = &mut next => break batch?,
                    () = log.look_again.notified() => {
                        memory.vain = !brought;
                        return Err(End::Again);
                    }
                    // Nothing is judged before all was heard.
                    () = wake(memory.voices.wake_at()), if log.phase() == Phase::Following => weigh(inner, log, memory)?,
                }
            }
        };
        brought = true;
        let pending = batch.last().map_or(0, |entry| entry.pending);
        let last = batch.last().map_or(0, |entry| entry.sequence);
        log.reached(last + pending);
        apply(inner, log, batch, &facts, memory).await?;
        if log.phase() != Phase::Following && last >= target {
            log.set_phase(Phase::Following, inner.streams.note(&facts));
        }
    }
}

/// Opens a feed behind what is applied. After one in vain, entries are asked for one by one first, and until there is another one.
async fn open(inner: &Inner, log: &Log, facts: &Facts, memory: &mut Memory) -> Result<Feed, End> {
    let shard = log.shard;
    let vain = std::mem::take(&mut memory.vain);
    if vain {
        tracing::info!(%shard, "no feed brings the entries of the log: they are asked for one by one for a while");
        // Whatever ends it, there still is no feed to trust.
        memory.vain = true;
        poll(inner, log, facts, memory, POLL_FOR).await?;
        memory.vain = false;
    }
    let applied = inner.applier.position(shard)?.sequence;
    // What is applied meanwhile is passed over when the feed brings it again.
    let opening = timeout(OPEN_TIMEOUT, feed(inner, log, applied + 1));
    tokio::pin!(opening);
    let opened = match vain {
        true => poll_until(inner, log, facts, memory, opening).await?,
        false => opening.await,
    };
    let opened = opened.unwrap_or_else(|_| Err(Trouble::NoAnswer("no consumer was made in time".into())));
    Ok(opened.inspect_err(|_| memory.vain = true)?)
}

/// Asks for entries one by one until something is done. What was begun is ended first: what is applied must be heard too.
async fn poll_until<F: Future>(
    inner: &Inner,
    log: &Log,
    facts: &Facts,
    memory: &mut Memory,
    mut done: Pin<&mut F>,
) -> Result<F::Output, End> {
    loop {
        let polling = poll(inner, log, facts, memory, POLL_EVERY);
        tokio::pin!(polling);
        tokio::select! {
            output = &mut done => {
                polling.await?;
                return Ok(output);
            }
            polled = &mut polling => polled?,
        }
    }
}

async fn feed(inner: &Inner, log: &Log, from: u64) -> Result<Feed, Trouble> {
    Feed::open(&inner.streams, log.shard, &inner.options.node, from, &log.left_behind).await
}

/// Follows without a consumer for a while: each entry is asked for by its number. Slower, but it needs nothing that JetStream would have to
/// make first, nor anything that it may forget to bring.
async fn poll(inner: &Inner, log: &Log, facts: &Facts, memory: &mut Memory, during: Duration) -> Result<(), End> {
    let shard = log.shard;
    let until = Instant::now() + during;
    while Instant::now() < until {
        let next = inner.applier.position(shard)?.sequence + 1;
        match inner.streams.entry(shard, next).await? {
            Some(entry) => {
                log.reached(entry.sequence);
                apply(inner, log, vec![entry], facts, memory).await?;
                weigh(inner, log, memory)?;
            }
            None if log.facts().is_some_and(|facts| next <= facts.last) => {
                return Err(End::Trouble(Trouble::NoAnswer(format!("the log does not give its entry {next}"))));
            }
            None => {
                memory.lost_since = None;
                if log.phase() != Phase::Following {
                    log.set_phase(Phase::Following, inner.streams.note(facts));
                }
                sleep(POLL_EVERY).await;
                weigh(inner, log, memory)?;
            }
        }
    }
    Ok(())
}

/// Asks how the log is; makes it where there is none, if that is this node's to do.
async fn reach(inner: &Inner, log: &Log) -> Result<Facts, End> {
    match inner.streams.facts(log.shard).await {
        Ok(facts) => Ok(facts),
        Err(Trouble::Missing) if inner.has_duty() => Ok(rebuild::make_log(inner, log).await?),
        Err(Trouble::Missing) => {
            let text = "its stream is missing, and is made by the node that has the lease for it".to_owned();
            Err(End::Trouble(Trouble::NoAnswer(text)))
        }
        Err(trouble) => Err(trouble.into()),
    }
}

/// Sees to it that what is here is the beginning of the log, or a snapshot that its entries continue.
async fn agree(inner: &Inner, log: &Log, facts: &Facts, memory: &mut Memory) -> Result<(), End> {
    // The log was compacted meanwhile: a snapshot is no reason to change sides.
    memory.rebuild.take_if(|wanted| wanted.why == Why::Even && facts.first > 1);
    let wanted = match memory.rebuild.clone() {
        Some(wanted) => wanted,
        None => match rebuild::judge(inner, log, facts).await? {
            Verdict::Agrees => return Ok(()),
            Verdict::Behind => {
                log.set_phase(Phase::CatchingUp, Some("this node was away longer than the log reaches".to_owned()));
                log.judged.send_replace(0);
                // Whatever it is made of may be used again when it turns out to be wrong.
                rebuild::install_newest(inner, log, facts, 0, &mut BTreeSet::new()).await?;
                memory.voices.made_anew(false);
                return Ok(());
            }
            Verdict::Differs(reason) => Wanted { reason, why: Why::History { lost: 0 } },
        },
    };
    log.judged.send_replace(0);
    log.speech.clear();
    if matches!(wanted.why, Why::History { .. }) {
        memory.bases.clear();
        // What was said of another history is of no use, and would be in the way.
        memory.voices = Voices::new(inner.options.node.clone());
    }
    if !rebuild::rebuild(inner, log, facts, &wanted, &mut memory.bases).await? {
        return Err(End::Stopped(format!("{}; nothing is left that the view could be made from", wanted.reason)));
    }
    if matches!(wanted.why, Why::History { .. }) {
        memory.bases.clear();
    }
    memory.voices.made_anew(wanted.why == Why::Even);
    memory.rebuild = None;
    Ok(())
}

/// Finds out who is wrong, where the nodes say different things. Not before this one has heard all that was said.
fn weigh(inner: &Inner, log: &Log, memory: &mut Memory) -> Result<(), End> {
    if log.phase() != Phase::Following {
        return Ok(());
    }
    // All of it was heard when it was applied.
    let applied = inner.applier.position(log.shard)?.sequence;
    if let Some(wanted) = dispute::weigh(log, &mut memory.voices) {
        memory.rebuild = Some(wanted);
        return Err(End::Again);
    }
    if memory.voices.is_confirmed() {
        memory.bases.clear();
    }
    log.judged.send_replace(applied);
    Ok(())
}

async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Applies what came, and tells those who wait for it.
async fn apply(inner: &Inner, log: &Log, batch: Vec<Delivered>, facts: &Facts, memory: &mut Memory) -> Result<(), End> {
    let entries =
        batch.into_iter().map(|Delivered { sequence, time_ms, payload, .. }| Logged { sequence, time_ms, payload });
    let progress = inner.applier.apply(log.shard, entries.collect()).await?;
    for (operation, receipt) in &progress.receipts {
        if log.waiting.is_awaited(*operation) {
            log.waiting.resolve(*operation, receipt);
        }
    }
    if !progress.receipts.is_empty() {
        log.commands.store(inner.applier.position(log.shard)?.sequence, Ordering::Release);
    }
    for voice in progress.voices {
        memory.voices.hear(voice);
    }
    match progress.error {
        None => {
            memory.gap = None;
            Ok(())
        }
        Some(ApplyError::Gap { applied, found, .. }) => Err(gap(log.shard, applied, found, facts, memory)),
        Some(ApplyError::Diverged { sequence, text, .. }) => Err(diverged(sequence, text, memory)),
        Some(
            error @ (ApplyError::Newer { .. }
            | ApplyError::Unreadable { .. }
            | ApplyError::Panicked { .. }
            | ApplyError::Store { .. }
            | ApplyError::Snapshot { .. }
            | ApplyError::Unknown(_)),
        ) => Err(error.into()),
    }
}

/// Entries are missing: compacted away meanwhile, or lost.
fn gap(shard: Shard, applied: u64, found: u64, facts: &Facts, memory: &mut Memory) -> End {
    let times = match memory.gap {
        Some((at, times)) if at == applied => times + 1,
        Some(_) | None => 1,
    };
    memory.gap = Some((applied, times));
    let (from, to) = (applied + 1, found - 1);
    if facts.first <= from && times >= GAPS {
        memory.gap = None;
        let reason = format!("the log of {shard} has lost its entries {from} to {to}");
        memory.rebuild = Some(Wanted { reason, why: Why::History { lost: to } });
    }
    End::Trouble(Trouble::NoAnswer(format!("entries {from} to {to} did not come")))
}

/// The log is another one than was applied: made anew once, then given up.
fn diverged(sequence: u64, text: String, memory: &mut Memory) -> End {
    if memory.disagreed == Some(sequence) {
        return End::Stopped(format!("entry {sequence} disagrees after the view was made anew too: {text}"));
    }
    memory.disagreed = Some(sequence);
    let reason = format!("entry {sequence} disagrees: {text}");
    memory.rebuild = Some(Wanted { reason, why: Why::History { lost: 0 } });
    End::Again
}
