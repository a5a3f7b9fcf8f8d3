//! To which call does a request of the server belong, where the transport does not say?
//!
//! Exactly known, or refused: whoever guesses shows one caller what was meant for another. A call is a suspect from when it is
//! sent until the server has answered it: a call is not answered before its own requests are. One that its caller has
//! cancelled may still ask for a while. One suspect is certainty. With several the request is held, and the connection takes no
//! further calls, until the others are answered and one is left. What has asked before is remembered, so that it runs alone the
//! next time; what is called for the first time waits a moment for others of its kind.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use spanwire_mcp::{Json, Method, Request, RequestId};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// Requests that may be held at once; further ones are refused.
const MAX_HELD: usize = 32;
/// Targets of calls that are remembered to have asked; the oldest one is forgotten first.
const MAX_ASKERS: usize = 256;
/// Targets of calls that are remembered not to have asked; with more, all are forgotten.
const MAX_QUIET: usize = 1024;
/// Cancelled calls that are kept in mind; above it the one that was cancelled first is forgotten.
const MAX_CANCELLED: usize = 1024;

/// What a call is about: a method and a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    method: Method,
    name: String,
}

impl Target {
    /// The target that a call's params name.
    pub(super) fn of(method: &Method, params: &Json) -> Self {
        let name = method.name_member().and_then(|member| params.get(member)?.read().ok());
        Self { method: method.clone(), name: name.unwrap_or_default() }
    }
}

/// The turn of a call that is remembered to ask: it enters as soon as no other one is there.
pub(super) type Lane = OwnedSemaphorePermit;

/// Whose request it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This call's.
    Call(i64),
    /// No call's: none was in flight.
    NoCall,
    /// It is not known, and will not be.
    Unknown,
}

/// What decides on requests without an address.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    held: Vec<Held>,
    cancelled: VecDeque<Cancelled>,
    askers: VecDeque<Target>,
    quiet: HashSet<Target>,
}

#[derive(Debug)]
struct Held {
    request: Request,
    suspects: HashMap<i64, Target>,
    until: Instant,
}

#[derive(Debug)]
struct Cancelled {
    until: Instant,
    target: Target,
}

impl Attribution {
    /// Takes a request; `in_flight` are all calls that may have caused it. `None` when it is held.
    pub(super) fn ask(
        &mut self,
        request: Request,
        in_flight: HashMap<i64, Target>,
        now: Instant,
        wait: Duration,
    ) -> Option<(Request, Owner)> {
        self.forget_cancelled(now);
        let owner = match in_flight.len() {
            0 => Owner::NoCall,
            1 if self.cancelled.is_empty() => match in_flight.iter().next() {
                Some((id, target)) => {
                    remember(&mut self.askers, target);
                    Owner::Call(*id)
                }
                None => Owner::NoCall,
            },
            _ if self.cancelled.is_empty() && self.held.len() < MAX_HELD => {
                self.held.push(Held { request, suspects: in_flight, until: now + wait });
                return None;
            }
            _ => {
                // A cancelled call is never told from one that runs: waiting would not help.
                let cancelled = self.cancelled.iter().map(|one| &one.target);
                in_flight.values().chain(cancelled).for_each(|target| remember(&mut self.askers, target));
                Owner::Unknown
            }
        };
        Some((request, owner))
    }

    /// The server has answered a call. What was held and is clear now is returned.
    pub(super) fn answered(&mut self, id: i64) -> Vec<(Request, Owner)> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let clear = |held: &mut Held| {
            held.suspects.remove(&id);
            held.suspects.len() <= 1
        };
        let clear: Vec<Held> = self.held.extract_if(.., clear).collect();
        let owned = |held: Held| match held.suspects.iter().next() {
            Some((id, target)) => {
                remember(&mut self.askers, target);
                (held.request, Owner::Call(*id))
            }
            None => (held.request, Owner::NoCall),
        };
        clear.into_iter().map(owned).collect()
    }

    /// The caller has cancelled a call: it may ask until then. What it may have asked stays unknown.
    pub(super) fn cancelled(&mut self, id: i64, target: Target, until: Instant) -> Vec<(Request, Owner)> {
        let lost: Vec<Held> = self.held.extract_if(.., |held| held.suspects.contains_key(&id)).collect();
        if self.cancelled.len() >= MAX_CANCELLED {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back(Cancelled { until, target });
        lost.into_iter().map(|held| self.give_up(held)).collect()
    }

    /// What was held for as long as it may be.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Request, Owner)> {
        let late: Vec<Held> = self.held.extract_if(.., |held| held.until <= now).collect();
        late.into_iter().map(|held| self.give_up(held)).collect()
    }

    fn give_up(&mut self, held: Held) -> (Request, Owner) {
        held.suspects.values().for_each(|target| remember(&mut self.askers, target));
        (held.request, Owner::Unknown)
    }

    /// The server has cancelled a request of its own; `false` when it is not held.
    pub(super) fn withdraw(&mut self, id: &RequestId) -> bool {
        let before = self.held.len();
        self.held.retain(|held| held.request.id != *id);
        self.held.len() < before
    }

    /// True while a request is held, so that no call may be added.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// When the first held request is overdue.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.until).min()
    }

    /// True when anybody is remembered to have asked.
    pub(super) fn has_askers(&self) -> bool {
        !self.askers.is_empty()
    }

    /// True when such a call is remembered to have asked. Costs nothing where nobody has.
    pub(super) fn has_asked(&self, method: &Method, params: &Json) -> bool {
        self.has_askers() && self.askers.contains(&Target::of(method, params))
    }

    /// True when nothing is known of such calls yet.
    pub(super) fn is_new(&self, method: &Method, params: &Json) -> bool {
        let target = Target::of(method, params);
        !self.askers.contains(&target) && !self.quiet.contains(&target)
    }

    /// Such a call came to its end without asking.
    pub(super) fn is_quiet(&mut self, target: Target) {
        if self.askers.contains(&target) {
            return;
        }
        if self.quiet.len() >= MAX_QUIET {
            self.quiet.clear();
        }
        self.quiet.insert(target);
    }

    /// True when a cancelled call may still ask that is remembered to do so.
    pub(super) fn may_still_ask(&self) -> bool {
        self.cancelled.iter().any(|one| self.askers.contains(&one.target))
    }

    /// Lets go of cancelled calls that ask no more; when the next one follows.
    pub(super) fn forget_cancelled(&mut self, now: Instant) -> Option<Instant> {
        while self.cancelled.front().is_some_and(|one| one.until <= now) {
            self.cancelled.pop_front();
        }
        self.cancelled.front().map(|one| one.until)
    }

    /// The server has forgotten every call: a new session, or none any more.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.cancelled.clear();
    }
}

fn remember(askers: &mut VecDeque<Target>, target: &Target) {
    if askers.contains(target) {
        return;
    }
    if askers.len() >= MAX_ASKERS {
        askers.pop_front();
    }
    askers.push_back(target.clone());
}
