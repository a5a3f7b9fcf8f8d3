//! The session of a legacy server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};
use spanwire_mcp::{Json, Revision, header as mcp};

/// What a legacy server gave at `initialize`, and what was said to get it.
#[derive(Debug, Default)]
pub(super) struct Session {
    state: Mutex<State>,
    /// One at a time renews; the others then find the work done. It is held across awaits by intent, and nothing else
    /// waits for it.
    pub renewing: tokio::sync::Mutex<()>,
}

/// The session as one request saw it.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// The id; `None` when the server has no sessions, or none is open.
    pub id: Option<HeaderValue>,
    /// Counts sessions up.
    pub generation: u64,
    /// The params of `initialize`.
    pub greeting: Option<Json>,
    /// The revision that was agreed on.
    pub revision: Option<Revision>,
}

impl Session {
    /// The session now.
    pub(super) fn now(&self) -> State {
        self.lock().clone()
    }

    /// Notes the answer to `initialize`.
    pub(super) fn opened(&self, headers: &HeaderMap, greeting: &Json) {
        let mut state = self.lock();
        state.id = headers.get(mcp::SESSION_ID).cloned();
        state.generation += 1;
        state.greeting = Some(greeting.clone());
    }

    /// Notes the revision that was agreed on.
    pub(super) fn agreed(&self, revision: Revision) {
        self.lock().revision = Some(revision);
    }

    /// Takes the session to end it.
    pub(super) fn take(&self) -> State {
        let mut state = self.lock();
        let taken = state.clone();
        state.id = None;
        taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
