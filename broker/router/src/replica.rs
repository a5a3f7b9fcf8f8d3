//! Which replica of a server gets a call.
//!
//! One of this node comes first, as long as it takes the call at once. Otherwise two of the others are drawn, and the less busy of them
//! has it: by what its node said last of its load, and by what this node has sent there since. Replicas that are about to leave, that
//! were found sick, or whose node is silent are asked only when no better one is left.

mod breaker;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use spanwire_mcp::Method;
use spanwire_model::{Inventory, NodeId, NodeState, Outcome, Placement, ServerEntry, ServerId};
use spanwire_registry::Handle as Registry;
use tokio::time::Instant;

use self::breaker::{Breaker, Trust, Verdict};
use crate::{Inner, forward::nothing_executed};

/// A replica on another node that can have a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) standing: Standing,
    /// Calls that it has, as far as this node knows.
    pub(crate) load: u32,
}

/// How good a replica is found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing speaks against it, or one call shall find out.
    Well { is_trial: bool },
    /// Its node takes nothing new.
    Draining,
    /// Its calls failed.
    Sick,
    /// Its node is silent.
    Suspect,
}

/// What this node knows of replicas by its own calls.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// Locked for a look-up only.
    known: Mutex<HashMap<(ServerId, NodeId), Known>>,
    dice: AtomicU64,
}

#[derive(Debug)]
struct Known {
    /// Calls of this node that it has.
    outstanding: u32,
    breaker: Breaker,
}

/// A call that a replica has. Dropped without [`Self::ended`], the caller went away.
pub(crate) struct Sent {
    inner: Arc<Inner>,
    key: (ServerId, NodeId),
    is_trial: bool,
    /// It is work for the replica, and its end is near.
    is_work: bool,
    was_heard: bool,
    verdict: Verdict,
}

impl Standing {
    /// The standing in one word, for spans; `None` when there is nothing to say.
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Well { is_trial: false } => None,
            Self::Well { is_trial: true } => Some("trial"),
            Self::Draining => Some("draining"),
            Self::Sick => Some("open"),
            Self::Suspect => Some("suspect"),
        }
    }

    pub(crate) fn is_well(self) -> bool {
        matches!(self, Self::Well { .. })
    }

    fn rank(self) -> u8 {
        match self {
            Self::Well { .. } => 0,
            Self::Draining => 1,
            Self::Sick => 2,
            Self::Suspect => 3,
        }
    }
}

impl Replicas {
    pub(crate) fn new() -> Self {
        // Different on each node, so that they do not all draw the same.
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Self { known: Mutex::default(), dice: AtomicU64::new(seed) }
    }

    /// Every entry is whole after each critical section, so a poisoned lock is one that can be used.
    fn known(&self) -> MutexGuard<'_, HashMap<(ServerId, NodeId), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that nobody can rely on to be secret.
    fn roll(&self) -> u64 {
        mixed(self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// The replicas on other nodes that can be called and were not tried.
    fn candidates(
        &self,
        registry: &Registry,
        inventory: &Inventory,
        server: &ServerId,
        tried: &[NodeId],
    ) -> Vec<Candidate> {
        let (now, known) = (Instant::now(), self.known());
        let candidate = |node: &NodeId| {
            let entry = known.get(&(server.clone(), node.clone()));
            let trust = entry.map_or(Trust::Well, |known| known.breaker.trust(now));
            let outstanding = entry.map_or(0, |known| known.outstanding);
            Candidate {
                node: node.clone(),
                standing: standing(state_of(inventory, node), trust),
                load: registry.load(node, server).saturating_add(outstanding),
            }
        };
        callable(inventory, server).filter(|node| !tried.contains(node)).map(candidate).collect()
    }

    /// Chooses a replica on another node.
    pub(crate) fn choose(
        &self,
        registry: &Registry,
        inventory: &Inventory,
        server: &ServerId,
        tried: &[NodeId],
    ) -> Option<Candidate> {
        pick(self.candidates(registry, inventory, server, tried), self.roll())
    }

    /// A replica gets a call. True when the call finds out whether it is well again.
    fn begin(&self, key: &(ServerId, NodeId), is_work: bool) -> bool {
        let mut known = self.known();
        let entry =
            known.entry(key.clone()).or_insert(Known { outstanding: 0, breaker: Breaker::Closed { failures: 0 } });
        let mut is_trial = false;
        if is_work {
            entry.outstanding += 1;
            (entry.breaker, is_trial) = entry.breaker.begin(Instant::now());
        }
        is_trial
    }

    /// What [`Self::begin`] noted is over. True when the replica is found sick by it.
    fn end(
        &self,
        key: &(ServerId, NodeId),
        is_work: bool,
        is_trial: bool,
        verdict: Verdict,
        inventory: &Inventory,
    ) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "a chance needs no more")]
        let chance = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut known = self.known();
        let Some(entry) = known.get_mut(key) else { return false };
        entry.outstanding = entry.outstanding.saturating_sub(u32::from(is_work));
        let before = entry.breaker;
        entry.breaker = before.end(verdict, is_trial, Instant::now(), chance);
        let is_news = entry.breaker.is_open() && !before.is_open();
        if entry.outstanding == 0 && !is_there(inventory, key) {
            // Callers may name any node: what is nowhere is not remembered.
            known.remove(key);
        }
        is_news
    }

    /// Forgets what is not there any more.
    pub(crate) fn keep_only(&self, inventory: &Inventory) {
        self.known().retain(|key, known| known.outstanding > 0 || is_there(inventory, key));
    }
}

impl Sent {
    /// A call is sent to a replica. A listen stream is no work and no trial: it may last for hours without a word.
    pub(crate) fn to(inner: &Arc<Inner>, server: &ServerId, node: &NodeId, method: &Method) -> Self {
        let is_work = *method != Method::Listen;
        let key = (server.clone(), node.clone());
        let is_trial = inner.replicas.begin(&key, is_work);
        Self { inner: inner.clone(), key, is_trial, is_work, was_heard: false, verdict: Verdict::Unknown }
    }

    /// Something came of the call, which goes on.
    pub(crate) fn heard(&mut self) {
        if std::mem::replace(&mut self.was_heard, true) {
            return;
        }
        if let Some(entry) = self.inner.replicas.known().get_mut(&self.key) {
            entry.breaker = entry.breaker.heard();
        }
    }

    /// The call has its outcome.
    pub(crate) fn ended(mut self, outcome: &Outcome) {
        // Without a connection of our own, an error says nothing of the other node.
        if self.inner.backbone.is_connected() || outcome.is_ok() {
            self.verdict = verdict(outcome, self.was_heard);
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let inventory = self.inner.registry.inventory();
        let is_news = self.inner.replicas.end(&self.key, self.is_work, self.is_trial, self.verdict, &inventory);
        if is_news {
            let (server, node) = &self.key;
            tracing::warn!(%server, %node, "replica is found sick: asked last for a while");
            self.inner.telemetry.metrics().replica_sick(server.as_str());
        }
    }
}

/// What an outcome says of the replica: an answer of any kind is one, and so is a server's own error.
fn verdict(outcome: &Outcome, heard: bool) -> Verdict {
    use spanwire_model::ErrorKind as Kind;
    let Err(error) = outcome else { return Verdict::Well };
    match error.kind {
        Kind::Unavailable if nothing_executed(error) => Verdict::Sick,
        Kind::StreamLost => Verdict::Sick,
        Kind::DeadlineExceeded if !heard => Verdict::Sick,
        Kind::Overloaded | Kind::Cancelled | Kind::DeadlineExceeded | Kind::Unavailable => Verdict::Unknown,
        Kind::Malformed
        | Kind::InvalidRequest
        | Kind::MethodNotFound
        | Kind::InvalidParams
        | Kind::HeaderMismatch
        | Kind::UnsupportedVersion
        | Kind::MissingCapability
        | Kind::Unauthenticated
        | Kind::Denied
        | Kind::TooLarge
        | Kind::Conflict
        | Kind::QuotaExceeded
        | Kind::SessionGone
        | Kind::Server
        | Kind::BadServer
        | Kind::Internal => Verdict::Well,
    }
}

fn is_there(inventory: &Inventory, (server, node): &(ServerId, NodeId)) -> bool {
    let key = |entry: &Arc<ServerEntry>| (&entry.id, &entry.node).cmp(&(server, node));
    inventory.servers.binary_search_by(key).is_ok()
}

/// The other nodes on which a server can be called.
pub(crate) fn callable<'a>(inventory: &'a Inventory, server: &'a ServerId) -> impl Iterator<Item = &'a NodeId> {
    let from = inventory.servers.partition_point(|entry| entry.id < *server);
    let entries = inventory.servers[from..].iter().take_while(move |entry| entry.id == *server);
    entries.filter(|entry| !entry.local && entry.health.state.is_callable()).map(|entry| &entry.node)
}

/// True for a server that runs on one node at a time, and on another one when that is gone: then no other replica has what it began. As
/// far as this node knows.
pub(crate) fn is_one_that_moves(inventory: &Inventory, server: &ServerId) -> bool {
    let from = inventory.servers.partition_point(|entry| entry.id < *server);
    let mut entries = inventory.servers[from..].iter().take_while(|entry| entry.id == *server);
    let is_placed = entries.all(|entry| entry.placed.is_some_and(|placed| placed.replica == 0));
    let mut wanted = inventory.wanted.iter().filter(|want| want.id == *server);
    is_placed && wanted.all(|want| want.placement == Placement::Any && want.replicas == 1)
}

fn state_of(inventory: &Inventory, node: &NodeId) -> NodeState {
    let at = inventory.nodes.binary_search_by(|info| info.id.cmp(node));
    at.ok().and_then(|at| inventory.nodes.get(at)).map_or(NodeState::Alive, |info| info.state)
}

fn standing(state: NodeState, trust: Trust) -> Standing {
    match (state, trust) {
        (NodeState::Suspect, _) => Standing::Suspect,
        (NodeState::Draining, _) => Standing::Draining,
        (NodeState::Alive, Trust::Sick) => Standing::Sick,
        (NodeState::Alive, trust) => Standing::Well { is_trial: trust == Trust::Trial },
    }
}

/// Of two drawn among the best, the less busy one.
fn pick(mut candidates: Vec<Candidate>, roll: u64) -> Option<Candidate> {
    let best = candidates.iter().map(|candidate| candidate.standing.rank()).min()?;
    candidates.retain(|candidate| candidate.standing.rank() == best);
    let count = candidates.len();
    let at = |part: u64, of: usize| usize::try_from(part % of.max(1) as u64).unwrap_or(0);
    let one = at(roll >> 32, count);
    // Any of the others.
    let two = (one + 1 + at(roll & 0xffff_ffff, count.saturating_sub(1))) % count;
    let better = if candidates[two].load < candidates[one].load { two } else { one };
    Some(candidates.swap_remove(better))
}

/// The finaliser of splitmix64.
fn mixed(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
