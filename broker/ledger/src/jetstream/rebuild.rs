//! What is here against what the log has: compared, caught up from a snapshot, or set aside and made anew.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufReader, BufWriter},
    path::{Path, PathBuf},
    time::Duration,
};

use spanwire_model::Shard;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    Inner,
    bucket::Bucket,
    log::{Log, Phase},
    streams::{Facts, Trouble},
};
use crate::{
    error::ApplyError,
    position::{Hash, Position},
    snapshot,
};

/// How often a log that seems to have lost entries is asked again: a leader may lag a moment behind what it has confirmed.
const ASK_AGAIN: u32 = 8;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// The base that is no snapshot: the log from its beginning.
const EMPTY: u64 = 0;

/// A view that has to be made anew.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) reason: String,
    pub(super) why: Why,
}

/// Why a view has to be made anew, and so of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is of another history than the log.
    History {
        /// Entries up to this one are lost; 0 for none.
        lost: u64,
    },
    /// Most nodes have another view: each base is tried once, until there is an end to it.
    Outvoted,
    /// As many nodes have another view as have the same: the whole log says who is right, and no snapshot does.
    Even,
}

/// How a view stands to the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The log continues it.
    Agrees,
    /// The log begins later.
    Behind,
    /// It is of another history.
    Differs(String),
}

/// Compares the view with its log.
pub(super) async fn judge(inner: &Inner, log: &Log, facts: &Facts) -> Result<Verdict, Trouble> {
    let position = inner.position(log.shard)?;
    let applied = position.sequence;
    if let Some(stream) = &position.stream
        && *stream != facts.identity
        && applied > 0
    {
        if continues(inner, log.shard, &position, facts).await? {
            tracing::warn!(shard = %log.shard, applied, "the stream is another one, and continues what is here");
            inner.bind(log.shard, facts).await?;
            return Ok(Verdict::Agrees);
        }
        return Ok(Verdict::Differs("the stream is another one than before".to_owned()));
    }
    if facts.last < applied && !comes_back(inner, log.shard, applied).await? {
        let text = format!("the log ends at {}, this node has applied {applied}", facts.last);
        return Ok(Verdict::Differs(text));
    }
    if facts.first > applied + 1 {
        return Ok(Verdict::Behind);
    }
    if applied >= facts.first
        && let Some(message) = inner.streams.message(log.shard, applied).await?
        && Hash::of(&message) != position.digest
    {
        return Ok(Verdict::Differs(format!("entry {applied} of the log is not what was applied")));
    }
    if position.stream.as_ref() != Some(&facts.identity) {
        inner.bind(log.shard, facts).await?;
    }
    Ok(Verdict::Agrees)
}

/// True when the leader has the entry after all.
pub(super) async fn comes_back(inner: &Inner, shard: Shard, applied: u64) -> Result<bool, Trouble> {
    for _ in 0..ASK_AGAIN {
        sleep(ASK_AGAIN_AFTER).await;
        if inner.streams.facts(shard).await?.last >= applied {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True for a stream that was made to continue exactly this view.
async fn continues(inner: &Inner, shard: Shard, position: &Position, facts: &Facts) -> Result<bool, Trouble> {
    if facts.first != position.sequence + 1 {
        return Ok(false);
    }
    let Some(bucket) = Bucket::open(&inner.streams).await? else { return Ok(false) };
    if !bucket.sequences(shard).await?.contains(&position.sequence) {
        return Ok(false);
    }
    let file = Scratch::new(inner, shard, "compare");
    bucket.get(shard, position.sequence, &file.0).await?;
    Ok(header(shard, &file)?.hash == position.hash)
}

/// Sets the view aside, and makes it anew from a snapshot behind the entry `lost` and the log. False when all bases have been tried.
pub(super) async fn rebuild(
    inner: &Inner,
    log: &Log,
    facts: &Facts,
    wanted: &Wanted,
    tried: &mut BTreeSet<u64>,
) -> Result<bool, Trouble> {
    let reason = &wanted.reason;
    let shard = log.shard;
    if log.phase() != Phase::Rebuilding {
        tracing::error!(%shard, "the view is made anew: {reason}");
        inner.telemetry.metrics().ledger_rebuilt();
        set_aside(inner, shard).await;
    }
    log.set_phase(Phase::Rebuilding, Some(reason.clone()));
    let is_made = match wanted.why {
        Why::History { lost } => install_newest(inner, log, facts, lost, tried).await?,
        Why::Outvoted => install_newest(inner, log, facts, 0, tried).await?,
        Why::Even => {
            begin(inner, shard, facts).await?;
            tried.insert(EMPTY);
            true
        }
    };
    if !is_made {
        return Ok(false);
    }
    log.set_phase(Phase::CatchingUp, Some(format!("made anew: {reason}")));
    Ok(true)
}

/// Puts the newest snapshot that the log continues, that has the entry `lost`, and that was not tried, in the place of the view; an empty
/// view where the log has everything. False when there is none besides those that were tried.
pub(super) async fn install_newest(
    inner: &Inner,
    log: &Log,
    facts: &Facts,
    lost: u64,
    tried: &mut BTreeSet<u64>,
) -> Result<bool, Trouble> {
    let shard = log.shard;
    let bucket = Bucket::open(&inner.streams).await?;
    let sequences = match &bucket {
        Some(bucket) => bucket.sequences(shard).await?,
        None => Vec::new(),
    };
    let mut unusable = String::new();
    for sequence in sequences {
        let Some(bucket) = &bucket else { break };
        if sequence > facts.last || sequence + 1 < facts.first || sequence < lost || tried.contains(&sequence) {
            continue;
        }
        let file = Scratch::new(inner, shard, "install");
        bucket.get(shard, sequence, &file.0).await?;
        match install(inner, log, facts, sequence, &file).await {
            Ok(()) => {
                tried.insert(sequence);
                return Ok(true);
            }
            Err(Trouble::Refused(reason)) => {
                tracing::error!(%shard, sequence, "a snapshot cannot be used: {reason}");
                unusable = format!(" ({reason})");
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let has_all = facts.first <= 1 && lost == 0;
    if !tried.is_empty() && (!has_all || tried.contains(&EMPTY)) {
        return Ok(false);
    }
    if !has_all {
        let first = facts.first.max(lost + 1);
        let text = format!("the log begins at entry {first}, and no usable snapshot has what came before{unusable}");
        log.set_phase(Phase::Rebuilding, Some(text.clone()));
        return Err(Trouble::Refused(text));
    }
    begin(inner, shard, facts).await?;
    tried.insert(EMPTY);
    Ok(true)
}

/// Puts an empty view in the place of what is here.
async fn begin(inner: &Inner, shard: Shard, facts: &Facts) -> Result<(), Trouble> {
    inner.applier.clear(shard).await.map_err(refused)?;
    inner.bind(shard, facts).await
}

/// Installs the snapshot in the file, when it is the one of this entry and the log continues it.
async fn install(inner: &Inner, log: &Log, facts: &Facts, sequence: u64, file: &Scratch) -> Result<(), Trouble> {
    let shard = log.shard;
    let header = header(shard, file)?;
    if header.sequence != sequence {
        return Err(Trouble::Refused(format!("it is named {sequence}, and is of entry {}", header.sequence)));
    }
    if header.sequence >= facts.first
        && let Some(message) = inner.streams.message(shard, header.sequence).await?
        && Hash::of(&message) != header.digest
    {
        return Err(Trouble::Refused(format!("it is of another history than the log at entry {}", header.sequence)));
    }
    let reader = BufReader::new(File::open(&file.0).map_err(|error| Trouble::Refused(error.to_string()))?);
    let (position, _) = inner.applier.install(shard, reader).await.map_err(refused)?;
    inner.bind(shard, facts).await?;
    tracing::info!(%shard, sequence = position.sequence, "installed a snapshot");
    // Operations that are waited for may be in it.
    for operation in log.waiting.operations() {
        if let Ok(Some(receipt)) = inner.applier.outcome(shard, operation) {
            log.waiting.resolve(operation, &receipt);
        }
    }
    Ok(())
}

/// Makes the stream of a log that is missing. What this node or a snapshot still has of it is not lost: the new log continues it.
pub(super) async fn make_log(inner: &Inner, log: &Log) -> Result<Facts, Trouble> {
    let shard = log.shard;
    let position = inner.position(shard)?;
    let stored = match Bucket::open(&inner.streams).await? {
        Some(bucket) => bucket.sequences(shard).await?.first().copied().unwrap_or(0),
        None => 0,
    };
    let base = position.sequence.max(stored);
    if position.sequence > stored {
        store(inner, shard, &take(inner, shard).await?).await?;
    }
    if base > 0 {
        tracing::error!(%shard, "the stream is missing: making one that goes on after entry {base}");
    }
    let facts = inner.streams.create(shard, base + 1).await?;
    tracing::info!(%shard, replicas = facts.replicas, first = facts.first, "made the stream of a log");
    Ok(facts)
}

/// A snapshot that nobody else sees yet.
pub(super) struct Taken {
    file: Scratch,
    /// The last entry that it holds.
    pub(super) sequence: u64,
    /// Which of this node's views it is of.
    pub(super) generation: u32,
}

/// Takes a snapshot of the view, as it is now.
pub(super) async fn take(inner: &Inner, shard: Shard) -> Result<Taken, Trouble> {
    let file = Scratch::new(inner, shard, "upload");
    let generation = inner.position(shard)?.generation;
    let sequence = write_file(inner, shard, &file.0).await?;
    Ok(Taken { file, sequence, generation })
}

/// Puts a snapshot into the bucket, for all nodes.
pub(super) async fn store(inner: &Inner, shard: Shard, taken: &Taken) -> Result<(), Trouble> {
    Bucket::open_or_create(&inner.streams).await?.put(shard, taken.sequence, &taken.file.0).await
}

async fn write_file(inner: &Inner, shard: Shard, path: &PathBuf) -> Result<u64, Trouble> {
    let file = File::create(path).map_err(|error| Trouble::Refused(format!("a file for a snapshot: {error}")))?;
    let (header, _) = inner.applier.snapshot(shard, BufWriter::new(file)).await.map_err(refused)?;
    Ok(header.sequence)
}

/// Keeps what was here for people to look at: one file per shard. Failing to do so must not keep the node from being right again.
async fn set_aside(inner: &Inner, shard: Shard) {
    let path = inner.options.folder.join(format!("quarantine-{shard}.snapshot"));
    match write_file(inner, shard, &path).await {
        Ok(sequence) => tracing::warn!(%shard, sequence, "what was here is kept as {}", path.display()),
        Err(trouble) => tracing::warn!(%shard, "what was here could not be kept: {trouble}"),
    }
}

fn header(shard: Shard, file: &Scratch) -> Result<snapshot::Header, Trouble> {
    let unreadable = |error: std::io::Error| Trouble::Refused(error.to_string());
    let mut reader = BufReader::new(File::open(&file.0).map_err(unreadable)?);
    snapshot::read_header(Some(shard), &mut reader).map_err(unreadable)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: ApplyError) -> Trouble {
    Trouble::Refused(error.to_string())
}

/// How the names of files end that only a running process needs.
const SCRATCH: &str = ".scratch";

/// A file that is removed when it is no longer needed. Several may be there for one purpose.
struct Scratch(PathBuf);

impl Scratch {
    fn new(inner: &Inner, shard: Shard, purpose: &str) -> Self {
        let name = format!("{shard}.{purpose}.{}{SCRATCH}", Uuid::new_v4().simple());
        Self(inner.options.folder.join(name))
    }
}

/// Removes what a process that was killed has left in the folder.
pub(super) fn remove_scratch(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(SCRATCH) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
