//! The one log level of a legacy server, and the callers that each want their own.
//!
//! The server is told the most verbose level that a running call wants; each caller then gets what it asked for.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use spanwire_mcp::{Json, Method, string_literal};
use tokio::{sync::Notify, time::timeout};

use super::{
    incoming::{LEVELS, rank},
    line::Line,
};

/// How long the server may take to set its level.
const SET_WITHIN: Duration = Duration::from_secs(10);

/// What running calls want, and what the server was told last.
#[derive(Debug, Default)]
pub(super) struct Level {
    state: Mutex<State>,
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    wanted: [usize; LEVELS.len()],
    told: Option<usize>,
    telling: bool,
}

/// A running call wants a level. Dropping it takes the wish back.
pub(super) struct Wanted {
    level: Arc<Level>,
    rank: usize,
}

/// One `logging/setLevel`. Dropped before its end, it leaves open what the level is.
struct Telling<'a> {
    level: &'a Level,
    told: Option<usize>,
}

impl Level {
    /// Wants a level that [`rank`] knows; returns when the server logs at it.
    pub(super) async fn want(self: &Arc<Self>, line: &Line, name: &str) -> Option<Wanted> {
        let rank = rank(name)?;
        self.lock().wanted[rank] += 1;
        let wanted = Wanted { level: self.clone(), rank };
        loop {
            let told = self.told.notified();
            let mut told = std::pin::pin!(told);
            told.as_mut().enable();
            let Some(next) = self.next(rank) else { return Some(wanted) };
            match next {
                Some(rank) => self.tell(line, rank).await,
                None => told.await,
            }
        }
    }

    /// What a call of this rank does next: nothing, or it tells the server a rank, or (`Some(None)`) waits for who tells it.
    fn next(&self, rank: usize) -> Option<Option<usize>> {
        let mut state = self.lock();
        let most = state.wanted.iter().position(|calls| *calls > 0).unwrap_or(rank);
        if state.telling {
            return Some(None);
        }
        if state.told == Some(most) {
            return None;
        }
        state.telling = true;
        Some(Some(most))
    }

    async fn tell(&self, line: &Line, rank: usize) {
        let mut telling = Telling { level: self, told: None };
        let params = Json::from_trusted(format!("{{\"level\":{}}}", string_literal(LEVELS[rank])));
        match timeout(SET_WITHIN, line.ask(Method::SetLevel, params)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(server = %line.server, %error, "the log level could not be set"),
            Err(_) => tracing::warn!(server = %line.server, "the server did not answer logging/setLevel in time"),
        }
        // A refusal would be repeated.
        telling.told = Some(rank);
    }

    /// The server has forgotten it.
    pub(super) fn forget(&self) {
        self.lock().told = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut state = self.level.lock();
        state.told = self.told;
        state.telling = false;
        drop(state);
        self.level.told.notify_waiters();
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.level.lock().wanted[self.rank] -= 1;
    }
}
