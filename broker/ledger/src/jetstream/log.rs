//! One shard's log as this node sees it: how it is, who waits for what, and how much is on the way.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use spanwire_model::{Error, ErrorKind, Shard, ShardState};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

use super::{
    barrier::Barriers,
    dispute::Speech,
    feed::LeftBehind,
    streams::{Facts, Trouble},
    unsettled::Unsettled,
    waiting::Waiting,
};

/// Appends of a shard that may be on the way at once.
pub(super) const MAX_IN_FLIGHT: usize = 256;
/// A log that has not been heard of for so long is out of reach.
pub(super) const CONTACT_LOST: Duration = Duration::from_secs(2);

/// What the node does with a log that it can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    CatchingUp,
    Following,
    Rebuilding,
    Stopped,
}

/// See the module.
pub(super) struct Log {
    pub(super) shard: Shard,
    seen: Mutex<Seen>,
    /// Counts changes of [`Seen::phase`].
    phases: watch::Sender<Phase>,
    /// Appends that wait for their outcome.
    pub(super) waiting: Waiting,
    /// Appends whose end nobody knows.
    pub(super) unsettled: Unsettled,
    pub(super) barriers: Barriers,
    /// What this node is to say in the log.
    pub(super) speech: Speech,
    /// True while another node says something else of its view, and it is not known who is wrong.
    pub(super) disputed: AtomicBool,
    /// True while as many nodes say something else of their views as say the same, and nobody can know who is wrong.
    pub(super) even: AtomicBool,
    /// The last entry up to which all that other nodes say was judged; 0 while the view is made anew.
    pub(super) judged: watch::Sender<u64>,
    /// The last entry applied when there was a command among those that came: what nodes say of their views is no news to tell of.
    pub(super) commands: AtomicU64,
    /// Consumers that the server should forget.
    pub(super) left_behind: LeftBehind,
    pub(super) in_flight: Semaphore,
    /// Counts the feeds that were opened.
    pub(super) feeds: AtomicU64,
    /// Told when the follower should look again at what stands against it.
    pub(super) look_again: Notify,
    /// Told when the log answers after it had been out of reach.
    pub(super) returned: Notify,
}

#[derive(Debug, Clone)]
struct Seen {
    /// What is worth knowing about the phase.
    detail: Option<Arc<str>>,
    /// What was found out about other nodes' views.
    remark: Option<Arc<str>>,
    contact: Instant,
    /// Why there was no contact when it was last tried.
    trouble: Option<Arc<str>>,
    facts: Option<Facts>,
}

/// How a log is, for status and for refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) state: ShardState,
    pub(super) detail: Option<Arc<str>>,
    pub(super) stale: Option<Duration>,
    pub(super) facts: Option<Facts>,
}

impl Log {
    pub(super) fn new(shard: Shard) -> Self {
        let seen = Seen { detail: None, remark: None, contact: Instant::now(), trouble: None, facts: None };
        Self {
            shard,
            seen: Mutex::new(seen),
            phases: watch::Sender::new(Phase::CatchingUp),
            waiting: Waiting::default(),
            unsettled: Unsettled::default(),
            barriers: Barriers::default(),
            speech: Speech::default(),
            disputed: AtomicBool::new(false),
            even: AtomicBool::new(false),
            judged: watch::Sender::new(0),
            commands: AtomicU64::new(0),
            left_behind: LeftBehind::default(),
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            feeds: AtomicU64::new(0),
            look_again: Notify::new(),
            returned: Notify::new(),
        }
    }

    /// The log answered: it can be written and read.
    pub(super) fn contact(&self) {
        let mut seen = self.seen();
        seen.contact = Instant::now();
        seen.trouble = None;
    }

    /// The log answered, and said this.
    pub(super) fn told(&self, facts: Facts) {
        let mut seen = self.seen();
        if facts.writable {
            if seen.contact.elapsed() >= CONTACT_LOST {
                self.returned.notify_waiters();
            }
            seen.contact = Instant::now();
            seen.trouble = None;
        } else {
            seen.trouble = Some("too few of its replicas can be reached".into());
        }
        seen.facts = Some(facts);
    }

    /// An entry is there: the log is at least so long.
    pub(super) fn reached(&self, last: u64) {
        if let Some(facts) = &mut self.seen().facts {
            facts.last = facts.last.max(last);
        }
    }

    /// It did not answer as it should.
    pub(super) fn failed(&self, trouble: &Trouble) {
        self.seen().trouble = Some(trouble.to_string().into());
    }

    pub(super) fn set_phase(&self, phase: Phase, detail: Option<String>) {
        self.seen().detail = detail.map(Into::into);
        self.phases.send_replace(phase);
    }

    /// Something that people should know as long as this process runs.
    pub(super) fn remark(&self, text: String) {
        self.seen().remark = Some(text.into());
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phases.borrow()
    }

    /// True unless what is here is known to be wrong.
    pub(super) fn is_trusted(&self) -> bool {
        match self.phase() {
            Phase::CatchingUp | Phase::Following => true,
            Phase::Rebuilding | Phase::Stopped => false,
        }
    }

    /// What was last heard of it.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.seen().facts.clone()
    }

    pub(super) fn condition(&self) -> Condition {
        let phase = self.phase();
        let seen = self.seen().clone();
        let silent = seen.contact.elapsed();
        let lost = silent >= CONTACT_LOST;
        let stale = lost.then_some(silent);
        let out = || seen.trouble.clone().or_else(|| Some("the log does not answer".into()));
        let (state, detail) = match phase {
            Phase::Stopped => (ShardState::Stopped, seen.detail),
            Phase::Rebuilding => (ShardState::Rebuilding, seen.detail),
            Phase::CatchingUp | Phase::Following if lost => (ShardState::CutOff, out()),
            Phase::CatchingUp => (ShardState::CatchingUp, seen.detail.or(seen.trouble)),
            Phase::Following => (ShardState::Following, joined(seen.detail, seen.remark)),
        };
        Condition { state, detail, stale, facts: seen.facts }
    }

    /// Refuses when nothing can be written now.
    ///
    /// # Errors
    /// `Unavailable`, with the reason.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        let condition = self.condition();
        if condition.state == ShardState::Following {
            return Ok(());
        }
        Err(unavailable(self.shard, condition.state, condition.detail.as_deref()))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined(detail: Option<Arc<str>>, remark: Option<Arc<str>>) -> Option<Arc<str>> {
    match (detail, remark) {
        (Some(detail), Some(remark)) => Some(format!("{detail}; {remark}").into()),
        (detail, remark) => detail.or(remark),
    }
}

fn unavailable(shard: Shard, state: ShardState, detail: Option<&str>) -> Error {
    let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
    Error::new(ErrorKind::Unavailable, format!("the log of {shard} is {}{detail}", state.as_str()))
}
