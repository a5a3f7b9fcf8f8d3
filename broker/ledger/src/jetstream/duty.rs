//! What one node does for all: it makes missing streams, appends checkpoints, writes snapshots and lets go of what they hold.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use spanwire_model::{Error, Fence, ShardState};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Inner,
    append::append_own,
    bucket::Bucket,
    log::Log,
    rebuild::{self, Taken},
    streams::{Facts, Trouble},
};
use crate::{
    position::Position,
    wire::{Kind, Message},
};

/// The lease. Its own, so that whoever sees to other things for all nodes is not kept from it.
pub(super) const LEASE: &str = "duty.ledger";
/// How long a dead holder keeps others from it.
const LEASE_TTL: Duration = Duration::from_secs(8);
/// How often somebody without the lease tries to get it.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// How often the holder looks at the logs.
const TEND_EVERY: Duration = Duration::from_millis(500);
/// A log in which nothing was appended for so long gets a checkpoint behind its last entries.
const IDLE_CHECKPOINT: Duration = Duration::from_secs(30);
/// Pause before a snapshot is tried again.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(15);
/// How long an entry of the holder's own may take.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other nodes have to object to a view before a snapshot of it is put where all find it: an attempt to do so that is lost,
/// and another one.
const OBJECT_WITHIN: Duration = Duration::from_secs(4);
/// How soon a log takes an entry that took them all the time: else the others may have had none to object.
const PROMPT: Duration = Duration::from_secs(1);
/// How often they are given the time.
const MAX_ROUNDS: u32 = 4;
/// Bytes below the largest size of a log at which it may not take another entry.
const NEARLY_FULL: u64 = 2 * 1024 * 1024;
/// Snapshots of a shard that are kept.
const SNAPSHOTS_KEPT: usize = 2;
/// Pause of a node whose own shards are not fit for it.
const TRY_AGAIN_UNFIT: Duration = Duration::from_secs(10);

/// What the holder remembers of a log.
#[derive(Debug)]
struct Care {
    /// The last checkpoint's own entry; 0 for one who has just taken over, and begins with a checkpoint.
    checkpoint: u64,
    /// The last entry seen, and since when.
    last: (u64, Instant),
    /// The newest snapshot; `None` when it was not asked for yet.
    snapshot: Option<u64>,
    /// The stream's size after the last compaction.
    bytes: u64,
    not_before: Instant,
}

/// Holds the lease whenever it can, and does what it stands for.
pub(super) async fn run(inner: &Inner) {
    loop {
        if is_unfit(inner) {
            sleep(spanwire_nats::jittered(TRY_AGAIN_UNFIT)).await;
            continue;
        }
        match inner.leases.acquire(LEASE, LEASE_TTL).await {
            Ok(Some(lease)) => {
                let fence = lease.fence();
                inner.duty.send_replace(Some(fence.clone()));
                tracing::debug!(node = %inner.options.node, "tends the logs for all nodes");
                tokio::select! {
                    () = tend_all(inner, &fence) => {}
                    () = lease.lost() => {}
                }
                inner.duty.send_replace(None);
            }
            Ok(None) => {}
            Err(error) => tracing::debug!("no lease for the logs: {error}"),
        }
        sleep(spanwire_nats::jittered(TRY_EVERY)).await;
    }
}

async fn tend_all(inner: &Inner, fence: &Fence) {
    let mut cares = BTreeMap::new();
    while fence.is_valid() {
        if is_unfit(inner) {
            tracing::warn!("a shard of this node does not follow its log: another node tends the logs");
            return;
        }
        for log in inner.logs.values() {
            if log.condition().state != ShardState::Following {
                continue;
            }
            let Some(facts) = log.facts() else { continue };
            let Ok(position) = inner.position(log.shard) else { continue };
            let now = Instant::now();
            let care = cares.entry(log.shard).or_insert_with(|| Care {
                checkpoint: 0,
                last: (position.sequence, now),
                snapshot: None,
                bytes: 0,
                not_before: now,
            });
            if position.sequence != care.last.0 {
                care.last = (position.sequence, now);
            }
            checkpoint(inner, log, care).await;
            if now >= care.not_before
                && let Err(trouble) = compact(inner, log, &facts, fence, care).await
            {
                care.not_before = now + SNAPSHOT_PAUSE;
                tracing::warn!(shard = %log.shard, "no snapshot: {trouble}");
            }
        }
        sleep(spanwire_nats::jittered(TEND_EVERY)).await;
    }
}

/// True when this node knows less of a log than others may: it would write no snapshots, and the log would fill.
fn is_unfit(inner: &Inner) -> bool {
    inner.logs.values().any(|log| match log.condition().state {
        ShardState::Stopped | ShardState::Rebuilding => true,
        ShardState::CatchingUp | ShardState::Following | ShardState::CutOff => false,
    })
}

/// Says in the log what the hash is here, when enough was appended since, or nothing for a while.
async fn checkpoint(inner: &Inner, log: &Log, care: &mut Care) {
    let Ok(position) = inner.position(log.shard) else { return };
    let since = position.sequence.saturating_sub(care.checkpoint);
    // What nodes say of their views needs no checkpoint behind it: there would be no end to it.
    let is_new = care.checkpoint == 0 || log.commands.load(Ordering::Acquire) > care.checkpoint;
    let idle = since > 0 && is_new && care.last.1.elapsed() >= IDLE_CHECKPOINT;
    if since < inner.options.checkpoint_entries && !idle {
        return;
    }
    if let Err(error) = say(inner, log, &position, care).await {
        tracing::debug!(shard = %log.shard, "no checkpoint: {error}");
    }
}

async fn say(inner: &Inner, log: &Log, position: &Position, care: &mut Care) -> Result<(), Error> {
    let kind = Kind::Checkpoint { sequence: position.sequence, hash: position.hash.to_string() };
    let message = Message::own(kind, inner.options.node.clone());
    care.checkpoint = append_own(inner, log, &message, Instant::now() + APPEND_TIMEOUT).await?;
    Ok(())
}

/// Gives the other nodes the time to object to the view that a snapshot was taken of. A hash covers those before it: that of a later entry
/// is right only where that of the snapshot is.
async fn stand(inner: &Inner, log: &Log, taken: &Taken, fence: &Fence, care: &mut Care) -> Result<(), Trouble> {
    let position = inner.position(log.shard)?;
    let mut rounds = 0;
    match say(inner, log, &position, care).await {
        Ok(()) => loop {
            rounds += 1;
            sleep(OBJECT_WITHIN).await;
            if hear_all(inner, log).await? {
                break;
            }
            if rounds == MAX_ROUNDS {
                return Err(Trouble::NoAnswer("it takes entries too slowly for others to object".to_owned()));
            }
        },
        // It makes room only when there is a snapshot.
        Err(error) if is_full(inner, log) => {
            tracing::warn!(shard = %log.shard, "a full log takes no checkpoint: nobody is asked about a snapshot ({error})");
            hear(inner, log, inner.streams.facts(log.shard).await?.last).await?;
        }
        Err(error) => return Err(Trouble::NoAnswer(error.to_string())),
    }
    let is_same = inner.position(log.shard)?.generation == taken.generation;
    if log.disputed.load(Ordering::Acquire) || !is_same {
        return Err(Trouble::Refused("other nodes have another view: who is right must be known first".to_owned()));
    }
    let has_room = log.facts().is_some_and(|facts| facts.bytes < inner.options.log_bytes / 2);
    if log.even.load(Ordering::Acquire) && has_room {
        let text = "as many nodes have another view as have this one: while there is room, nothing is made of either";
        return Err(Trouble::Refused(text.to_owned()));
    }
    if log.condition().state != ShardState::Following || !fence.is_valid() {
        return Err(Trouble::NoAnswer("this node does not tend the logs any more".to_owned()));
    }
    Ok(())
}

/// Judges all that is in the log by now. Silence means nothing to a node that could not hear, or where nobody could speak: true when the log
/// took an entry at once.
async fn hear_all(inner: &Inner, log: &Log) -> Result<bool, Trouble> {
    let began = Instant::now();
    let message = Message::own(Kind::Barrier, inner.options.node.clone());
    let last = match append_own(inner, log, &message, began + APPEND_TIMEOUT).await {
        Ok(last) => last,
        Err(_) if is_full(inner, log) => {
            hear(inner, log, inner.streams.facts(log.shard).await?.last).await?;
            return Ok(true);
        }
        Err(error) => return Err(Trouble::NoAnswer(error.to_string())),
    };
    hear(inner, log, last).await?;
    Ok(began.elapsed() < PROMPT)
}

/// Waits until what was said up to an entry is judged.
async fn hear(inner: &Inner, log: &Log, last: u64) -> Result<(), Trouble> {
    let mut judged = log.judged.subscribe();
    let heard = timeout(APPEND_TIMEOUT, judged.wait_for(|judged| *judged >= last)).await;
    if heard.is_ok_and(|heard| heard.is_ok()) {
        return Ok(());
    }
    let applied = inner.position(log.shard)?.sequence;
    Err(Trouble::NoAnswer(format!("this node has applied {applied}, and not heard what was said up to entry {last}")))
}

fn is_full(inner: &Inner, log: &Log) -> bool {
    log.facts().is_some_and(|facts| facts.bytes + NEARLY_FULL >= inner.options.log_bytes)
}

/// The newest snapshot that is of this log. Those of entries that the log has lost are removed: no view can begin with them, and one day
/// the log would seem to go on from there.
async fn newest(inner: &Inner, log: &Log, fence: &Fence) -> Result<u64, Trouble> {
    let shard = log.shard;
    let Some(bucket) = Bucket::open(&inner.streams).await? else { return Ok(0) };
    let last = inner.streams.facts(shard).await?.last;
    for stored in bucket.sequences(shard).await? {
        if stored <= last || rebuild::comes_back(inner, shard, stored).await? {
            return Ok(stored);
        }
        if fence.is_valid() {
            tracing::warn!(%shard, "snapshot {stored} is of entries that the log has lost: it is removed");
            bucket.delete(&inner.streams, shard, stored).await?;
        }
    }
    Ok(0)
}

/// Writes a snapshot when enough was appended since the last one, and removes entries and snapshots that are not needed any more.
async fn compact(inner: &Inner, log: &Log, facts: &Facts, fence: &Fence, care: &mut Care) -> Result<(), Trouble> {
    let shard = log.shard;
    let options = &inner.options;
    let newest = match care.snapshot {
        Some(newest) => newest,
        None => *care.snapshot.insert(newest(inner, log, fence).await?),
    };
    let applied = inner.position(shard)?.sequence;
    let entries = applied.saturating_sub(newest);
    let bytes = facts.bytes.saturating_sub(care.bytes);
    if entries < options.snapshot_entries && (entries == 0 || bytes < options.snapshot_bytes) {
        return Ok(());
    }
    let taken = rebuild::take(inner, shard).await?;
    stand(inner, log, &taken, fence, care).await?;
    rebuild::store(inner, shard, &taken).await?;
    care.snapshot = Some(taken.sequence);
    let bucket = Bucket::open_or_create(&inner.streams).await?;
    let stored = bucket.sequences(shard).await?;
    // Another base than the newest is of use only as long as the log goes on from there.
    let older = stored.iter().copied().find(|stored| *stored < taken.sequence).unwrap_or(0);
    make_room(inner, log, fence, older, taken.sequence).await?;
    for old in stored.into_iter().skip(SNAPSHOTS_KEPT) {
        if fence.is_valid() {
            bucket.delete(&inner.streams, shard, old).await?;
        }
    }
    let facts = inner.streams.facts(shard).await?;
    care.bytes = facts.bytes;
    tracing::info!(%shard, sequence = taken.sequence, first = facts.first, "wrote a snapshot");
    log.told(facts);
    Ok(())
}

/// Removes the entries that the older snapshot has, and those that the newest has too where the log is large all the same.
async fn make_room(inner: &Inner, log: &Log, fence: &Fence, older: u64, newest: u64) -> Result<(), Trouble> {
    let options = &inner.options;
    let margin = options.log_margin;
    // Large entries: the margin alone would fill the log.
    let steps = [
        (older.saturating_sub(margin), options.log_bytes / 2),
        (newest.saturating_sub(margin), options.snapshot_bytes),
        (newest, u64::MAX),
    ];
    for (last, enough) in steps {
        let facts = inner.streams.facts(log.shard).await?;
        if fence.is_valid() && last >= facts.first {
            inner.streams.purge(log.shard, last + 1).await?;
        }
        if inner.streams.facts(log.shard).await?.bytes < enough {
            break;
        }
    }
    Ok(())
}
