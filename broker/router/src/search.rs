//! The search for a replica of one call's server: which one is next, and whether to wait when there is none.

use std::{sync::Arc, time::Duration};

use spanwire_mcp::Method;
use spanwire_model::{Call, Error, ErrorKind, Inventory, NodeId, Route, ServerId};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    Inner,
    execute::deadline,
    forward::Back,
    replica::{Candidate, Standing, callable},
};

/// Attempts of one call, over all replicas, between two pauses of a held call.
const MAX_ATTEMPTS: u32 = 6;

/// Longest that a call is held, over all its pauses, until its server is on some node again.
const HOLD_AT_MOST: Duration = Duration::from_secs(20);

/// After this time, times the attempts before, a held call tries again the replicas that have executed nothing.
const HOLD_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause of a held call.
const HOLD_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Calls that are held at a time.
pub(crate) const MAX_HELD: usize = 256;

/// Who gets the call.
pub(crate) enum Target {
    /// The server of this node.
    Here,
    /// A replica on another node.
    There(Candidate),
}

/// What is known of one call's replicas.
pub(crate) struct Search {
    server: ServerId,
    is_listen: bool,
    /// Where the call is to go first.
    first: Option<NodeId>,
    is_bound: bool,
    /// The nodes that said that they have executed nothing.
    tried: Vec<NodeId>,
    attempts: u32,
    /// Those since the last pause.
    attempts_since: u32,
    /// When the call is not held any longer; set when it is held first.
    held_until: Option<Instant>,
    /// The one that is tried now.
    current: Option<NodeId>,
    last_error: Option<Error>,
    deadline: Instant,
}

impl Search {
    pub(crate) fn new(call: &Call, route: &Route, back: Option<&Back>) -> Self {
        Self {
            server: route.server.clone(),
            is_listen: call.method == Method::Listen,
            first: back.and_then(|back| back.node.clone()),
            is_bound: back.is_some_and(|back| back.is_bound),
            tried: Vec::new(),
            attempts: 0,
            attempts_since: 0,
            held_until: None,
            current: None,
            last_error: None,
            deadline: deadline(call, route.call_timeout),
        }
    }

    /// Attempts until now, the one that runs included.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// No other node than the first one can have the call.
    pub(crate) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Whether another replica may be asked when this one has executed nothing.
    pub(crate) fn may_go_on(&self) -> bool {
        !self.is_bound && self.attempts_since < MAX_ATTEMPTS && Instant::now() < self.deadline
    }

    /// The replica that was asked has executed nothing.
    pub(crate) fn failed(&mut self, error: Error) {
        self.tried.extend(self.current.take());
        self.last_error = Some(error);
    }

    /// What the last one said.
    pub(crate) fn last_error(&mut self) -> Option<Error> {
        self.last_error.take()
    }

    /// Who gets the call now; `None` when nobody is left.
    pub(crate) fn next(&mut self, inner: &Inner) -> Option<Target> {
        let target = self.look(inner)?;
        self.attempts += 1;
        self.attempts_since += 1;
        self.current = Some(match &target {
            Target::Here => inner.config.node.clone(),
            Target::There(replica) => replica.node.clone(),
        });
        Some(target)
    }

    fn look(&self, inner: &Inner) -> Option<Target> {
        let this = &inner.config.node;
        if let Some(first) = self.first.as_ref().filter(|first| !self.tried.contains(first)) {
            return Some(if first == this {
                Target::Here
            } else {
                Target::There(Candidate { node: first.clone(), standing: Standing::Well { is_trial: false }, load: 0 })
            });
        }
        if self.is_bound {
            return None;
        }
        let own = inner.registry.attached(&self.server).filter(|_| !self.tried.contains(this));
        if own.as_ref().is_some_and(|own| own.has_room() || self.is_listen) {
            return Some(Target::Here);
        }
        let other = inner.replicas.choose(&inner.registry, &inner.registry.inventory(), &self.server, &self.tried);
        match (own, other) {
            // The own one has calls waiting already. Somebody else has the call sooner, as far as can be known.
            (Some(own), Some(other)) if other.standing.is_well() && other.load < own.load() => {
                Some(Target::There(other))
            }
            (Some(_), _) => Some(Target::Here),
            (None, Some(other)) => Some(Target::There(other)),
            (None, None) => None,
        }
    }

    /// Waits until a server that may run on any node is on one again, or for a pause when it never went away: whoever could not be
    /// reached may be reached then. How long that took; `None` when the server is not back, or in nobody's hands to be.
    pub(crate) async fn wait(&mut self, inner: &Arc<Inner>) -> Option<Duration> {
        let is_away = self.last_error.as_ref().is_none_or(|error| error.kind == ErrorKind::Unavailable);
        if self.is_bound || self.is_listen || !is_away || self.attempts_since >= MAX_ATTEMPTS {
            return None;
        }
        // Without a connection of its own this node would not hear where the server is: better to say so at once.
        if !inner.backbone.is_connected() {
            return None;
        }
        let mut inventories = inner.registry.watch();
        if !is_placed(&inventories.borrow(), &self.server) {
            return None;
        }
        let _place = inner.held.try_acquire().ok()?;
        let _gauge = inner.telemetry.metrics().held();
        let since = Instant::now();
        let until = *self.held_until.get_or_insert(self.deadline.min(since + HOLD_AT_MOST));
        let pause = sleep_until(since + HOLD_PAUSE.saturating_mul(self.attempts).min(HOLD_PAUSE_MAX));
        let came = async {
            tokio::pin!(pause);
            let mut has_paused = false;
            loop {
                if self.is_back(&inventories.borrow_and_update(), inner, has_paused) {
                    return true;
                }
                tokio::select! {
                    () = &mut pause, if !has_paused => has_paused = true,
                    changed = inventories.changed() => if changed.is_err() {
                        return false;
                    },
                }
            }
        };
        let came = timeout_at(until, came).await.unwrap_or(false);
        came.then(|| since.elapsed())
    }

    /// True when a replica can be called that was not tried. One that went away and came back is another one, and so is any after a
    /// pause.
    fn is_back(&mut self, inventory: &Inventory, inner: &Inner, has_paused: bool) -> bool {
        let mut now: Vec<NodeId> = callable(inventory, &self.server).cloned().collect();
        if inner.registry.attached(&self.server).is_some() {
            now.push(inner.config.node.clone());
        }
        if has_paused && !now.is_empty() {
            self.tried.clear();
            self.attempts_since = 0;
        }
        self.tried.retain(|node| now.contains(node));
        now.iter().any(|node| !self.tried.contains(node))
    }
}

/// True for a server that is started on another node when its own is gone.
fn is_placed(inventory: &Inventory, server: &ServerId) -> bool {
    inventory.servers.iter().any(|entry| entry.id == *server && entry.placed.is_some())
}
