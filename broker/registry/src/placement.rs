//! Who runs a server that any node may run: whoever holds the lease of one of its replicas.
//!
//! The task here takes leases; the owner starts what was taken, and the supervisor gives the lease back once its server is closed, so
//! that two nodes never run one replica. Each node decides for itself: all rank the alive nodes alike for each server, the first
//! ones try at once and the others a little later, so that servers spread over the nodes and races are rare. The lease settles the rest.
//! A node that runs fewer of them comes first, so that one that returns has its part again when servers are to be placed; none that
//! runs is moved for that.

mod rank;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use spanwire_model::{Holding, Holdings, Inventory, Lease, Leases, NodeId, NodeState, Placed, Result, ServerId};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Config, Handle, owner::Command};

/// How much later a node tries than the one that is ranked before it.
const STEP: Duration = Duration::from_millis(300);

/// Longest time that a node lets the others go first.
const MAX_DELAY: Duration = Duration::from_secs(3);

/// Longest that a node which leaves waits for the leases that it has asked for.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// When a lease that was not to be had is tried again, if nothing is heard of it before.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How long a node leaves a server to the others after it could not start it.
pub(crate) const REST: Duration = Duration::from_secs(30);

/// What the node would run if it had the lease.
pub(crate) type Wishes = BTreeMap<ServerId, Wish>;

/// A server that this node may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) replicas: u16,
    /// All nodes may run it, and not only those that have it in their files: which these are nobody else knows.
    pub(crate) is_everywhere: bool,
    /// The record that it comes from, where it comes from one.
    pub(crate) version: Option<u64>,
}

/// The right to run one replica of a server on this node. Dropping it gives it back.
pub(crate) struct Claim {
    pub(crate) placed: Placed,
    pub(crate) lease: Lease,
    /// Told when the lease was given back.
    pub(crate) back: oneshot::Sender<GivenBack>,
}

/// Why a claim was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenBack {
    /// It is not wanted here any more, or it was lost, before the server had started.
    Ended,
    /// The same, of a server that had started.
    Ran,
    /// The server does not start here.
    Unfit,
}

/// What the placement works with.
pub(crate) struct Parts {
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) wishes: watch::Receiver<Arc<Wishes>>,
    /// Cancelled when no lease is to be taken any more.
    pub(crate) leaving: CancellationToken,
}

/// Starts to take leases: whenever this node has been connected for the time that the configuration gives the nodes to find each other.
pub(crate) fn start(config: Arc<Config>, handle: Handle, parts: Parts) {
    let placement = Placement {
        holdings: parts.leases.watch(),
        inventory: handle.watch(),
        heard: handle.heard(),
        leases: parts.leases,
        wishes: parts.wishes,
        seats: BTreeMap::new(),
        unfit: BTreeMap::new(),
        taking: FuturesUnordered::new(),
        taken: FuturesUnordered::new(),
        handle: handle.clone(),
        config,
    };
    handle.tasks().spawn(placement.run(parts.leaving));
}

/// The name of a lease.
pub(crate) fn lease_name(id: &ServerId, replica: u16) -> String {
    format!("{}{id}.{replica}", rank::PREFIX)
}

struct Placement {
    config: Arc<Config>,
    handle: Handle,
    leases: Arc<dyn Leases>,
    wishes: watch::Receiver<Arc<Wishes>>,
    holdings: watch::Receiver<Arc<Holdings>>,
    inventory: watch::Receiver<Arc<Inventory>>,
    /// Whether this node knows which others are there.
    heard: watch::Receiver<bool>,
    /// How it stands with each server that is wished.
    seats: BTreeMap<ServerId, Seat>,
    /// Servers that did not start here when it was tried last, by the record that says how. A node that starts nothing runs fewer than
    /// the others: without this it would be the first one to try, each time.
    unfit: BTreeMap<ServerId, Option<u64>>,
    taking: FuturesUnordered<BoxFuture<'static, Attempt>>,
    taken: FuturesUnordered<BoxFuture<'static, (ServerId, GivenBack)>>,
}

/// The replica of a server whose lease was tried for, and what came of it.
type Attempt = (ServerId, u16, Result<Option<Lease>>);

/// How it stands with one server.
enum Seat {
    /// No replica is free.
    Full,
    /// A replica is free; this node tries to take it then.
    Due(Instant),
    /// A lease is being taken, or was taken and not given back yet.
    Busy,
    /// The server does not start here; others may try until then.
    Resting(Instant),
}

impl Placement {
    async fn run(mut self, leaving: CancellationToken) {
        let stopping = self.handle.stopping().clone();
        let mut watched = [true; 4];
        loop {
            let next = self.plan(Instant::now());
            let wake = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = leaving.cancelled() => break,
                () = wake => {}
                changed = self.wishes.changed(), if watched[0] => watched[0] = changed.is_ok(),
                changed = self.holdings.changed(), if watched[1] => watched[1] = changed.is_ok(),
                changed = self.inventory.changed(), if watched[2] => watched[2] = changed.is_ok(),
                changed = self.heard.changed(), if watched[3] => watched[3] = changed.is_ok(),
                Some((id, replica, lease)) = self.taking.next() => self.took(id, replica, lease).await,
                Some((id, why)) = self.taken.next() => self.given_back(id, why),
            }
        }
        self.give_up().await;
    }

    /// What was asked for may be had by now. Such a lease is given back: nobody else could have it otherwise before it ran out.
    async fn give_up(self) {
        let back = self.taking.for_each(async |(.., lease)| {
            if let Ok(Some(lease)) = lease {
                lease.release(LAST_ANSWERS).await;
            }
        });
        tokio::select! {
            _ = timeout(LAST_ANSWERS, back) => {}
            () = self.handle.abandoned() => {}
        }
    }

    /// Takes what is due; returns when the next one is.
    fn plan(&mut self, now: Instant) -> Option<Instant> {
        let wishes = self.wishes.borrow_and_update().clone();
        let holdings = self.holdings.borrow_and_update().clone();
        let inventory = self.inventory.borrow_and_update().clone();
        if !*self.heard.borrow_and_update() {
            // Whose turn it is is seen when the others are.
            self.seats.retain(|_, seat| !matches!(seat, Seat::Due(_)));
            return None;
        }
        if is_draining(&inventory, &self.config.node) {
            // It would give away again what it takes now.
            return None;
        }
        let alive = alive(&inventory, &self.config.node);
        self.seats.retain(|id, seat| wishes.contains_key(id) || matches!(seat, Seat::Busy));
        self.unfit.retain(|id, version| wishes.get(id).is_some_and(|wish| wish.version == *version));
        let (mut next, mut due) = (None::<Instant>, Vec::new());
        let is_there = |node: &NodeId| *node != self.config.node && inventory.nodes.iter().any(|info| info.id == *node);
        let mut counts = rank::counts(&holdings);
        counts.insert(self.config.node.clone(), self.seats.values().filter(|seat| matches!(seat, Seat::Busy)).count());
        for (id, wish) in wishes.iter() {
            if matches!(self.seats.get(id), Some(Seat::Busy)) {
                continue;
            }
            let free = free_replicas(id, wish.replicas, &holdings, &is_there);
            let order = self.order(id, *wish, &alive, &holdings, &counts);
            let is_unfit = self.unfit.contains_key(id);
            let rank = order.iter().position(|node| **node == self.config.node).unwrap_or(0);
            for node in order.into_iter().take(free.len()) {
                // As if those had it that come first: of many that are free at once, each gets its part.
                *counts.entry(node.clone()).or_default() += 1;
            }
            let (count, free) = (free.len(), free.get(rank % free.len().max(1)).copied());
            let seat = self.seats.entry(id.clone()).or_insert(Seat::Full);
            let at = match (&*seat, free) {
                (Seat::Busy, _) => continue,
                (Seat::Resting(until), _) if *until > now && is_unfit => *until,
                (_, None) => {
                    *seat = Seat::Full;
                    continue;
                }
                (Seat::Due(at), Some(_)) => *at,
                (Seat::Full | Seat::Resting(_), Some(_)) => {
                    // Once: were it counted from each look anew, it would never be over.
                    let at = now + if is_unfit { MAX_DELAY } else { delay(rank, count) };
                    *seat = Seat::Due(at);
                    at
                }
            };
            match free {
                Some(replica) if at <= now => {
                    *seat = Seat::Busy;
                    due.push((id.clone(), replica));
                }
                Some(_) | None => next = Some(next.map_or(at, |next| next.min(at))),
            }
        }
        for (id, replica) in due {
            self.take(id, replica);
        }
        next
    }

    /// The nodes that may take a replica, in the order in which they try.
    fn order<'a>(
        &self,
        id: &ServerId,
        wish: Wish,
        alive: &'a BTreeSet<NodeId>,
        holdings: &Holdings,
        counts: &rank::Counts,
    ) -> Vec<&'a NodeId> {
        let own = &self.config.node;
        let rivals = rivals(id, wish.replicas, alive, holdings, own);
        let mut order = rank::order(id, rivals, wish.is_everywhere.then_some(counts));
        // Where it does not start it comes last. The others do not know that, and are ready a step later.
        order.sort_by_key(|node| *node == own && self.unfit.contains_key(id));
        order
    }

    fn take(&self, id: ServerId, replica: u16) {
        let (leases, ttl) = (self.leases.clone(), self.config.lease_ttl);
        self.taking.push(
            async move {
                let lease = leases.acquire(&lease_name(&id, replica), ttl).await;
                (id, replica, lease)
            }
            .boxed(),
        );
    }

    async fn took(&mut self, id: ServerId, replica: u16, lease: Result<Option<Lease>>) {
        let lease = match lease {
            Ok(Some(lease)) => lease,
            Ok(None) => return self.not_taken(id),
            Err(error) => {
                tracing::debug!(server = %id, "cannot take its lease: {error}");
                return self.not_taken(id);
            }
        };
        let (back, given_back) = oneshot::channel();
        let placed = Placed { replica, token: lease.token() };
        tracing::info!(server = %id, replica, token = placed.token, "placed on this node");
        let server = id.clone();
        // The sender is dropped without a word where nobody wanted the claim any more.
        self.taken.push(async move { (server, given_back.await.unwrap_or(GivenBack::Ended)) }.boxed());
        self.handle.tell(Command::Placed { id, claim: Box::new(Claim { placed, lease, back }) }).await;
    }

    fn not_taken(&mut self, id: ServerId) {
        self.seats.insert(id, Seat::Due(Instant::now() + TRY_AGAIN));
    }

    fn given_back(&mut self, id: ServerId, why: GivenBack) {
        let seat = match why {
            GivenBack::Ended => Seat::Full,
            GivenBack::Ran => {
                self.unfit.remove(&id);
                Seat::Full
            }
            GivenBack::Unfit => {
                let version = self.wishes.borrow().get(&id).and_then(|wish| wish.version);
                self.unfit.insert(id.clone(), version);
                Seat::Resting(Instant::now() + REST)
            }
        };
        self.seats.insert(id, seat);
    }
}

fn is_draining(inventory: &Inventory, own: &NodeId) -> bool {
    inventory.nodes.iter().any(|node| node.id == *own && node.state == NodeState::Draining)
}

/// The nodes that may take a server, this one included.
fn alive(inventory: &Inventory, own: &NodeId) -> BTreeSet<NodeId> {
    let alive = inventory.nodes.iter().filter(|node| node.state == NodeState::Alive).map(|node| node.id.clone());
    alive.chain([own.clone()]).collect()
}

/// The nodes that may take a replica: those that are alive and have none. This one is asked for, so it has none.
fn rivals<'a>(
    id: &ServerId,
    replicas: u16,
    alive: &'a BTreeSet<NodeId>,
    holdings: &Holdings,
    own: &NodeId,
) -> Vec<&'a NodeId> {
    let holders: Vec<&NodeId> = (0..replicas)
        .filter_map(|replica| Some(&holdings.get(lease_name(id, replica).as_str())?.node))
        .filter(|holder| *holder != own)
        .collect();
    alive.iter().filter(|node| !holders.contains(node)).collect()
}

/// The replicas that are free. Where there is none, those whose holder is not there: what is known of the leases is old while they are out
/// of reach, and taking one finds out the truth. A seat of this node that is not busy has no lease, so it is not there for its own ones.
fn free_replicas(id: &ServerId, replicas: u16, holdings: &Holdings, is_there: &impl Fn(&NodeId) -> bool) -> Vec<u16> {
    let holding = |replica: u16| holdings.get(lease_name(id, replica).as_str());
    let those = |is_it: &dyn Fn(Option<&Holding>) -> bool| -> Vec<u16> {
        (0..replicas).filter(|replica| is_it(holding(*replica))).collect()
    };
    let free = those(&|holding| holding.is_none());
    if free.is_empty() { those(&|holding| holding.is_some_and(|one| !is_there(&one.node))) } else { free }
}

/// How long a node of this rank lets the others go first, of so many replicas that are free.
fn delay(rank: usize, free: usize) -> Duration {
    let behind = (rank + 1).saturating_sub(free.max(1));
    STEP.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX)).min(MAX_DELAY)
}

#[cfg(test)]
mod tests;
