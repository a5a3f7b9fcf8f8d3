//! A call that goes on at the server while its caller is away: one task takes what comes, and keeps it for the retry.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use spanwire_mcp::{Json, Method, Notification};
use spanwire_model::{Event, Outcome, Reply};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{desk::Desk, interactive::at};

/// Notifications but for progress that are kept of one call; more are dropped, counted and logged.
const MAX_KEPT: usize = 256;
/// Bytes of their params.
const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// What came of a call and was not taken yet. Of progress only the latest is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    state: Mutex<State>,
    reader: Notify,
    driver: Notify,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    dropped: u64,
    outcome: Option<Outcome>,
    /// When the retry must have come; `None` while somebody reads.
    due: Option<Instant>,
}

fn params_len(notification: &Notification) -> usize {
    notification.params.as_ref().map_or(0, Json::len)
}

impl State {
    fn push(&mut self, event: Event) {
        match &event {
            Event::Progress(_) => self.events.retain(|kept| !matches!(kept, Event::Progress(_))),
            Event::Notification(notification) => {
                let bytes = params_len(notification);
                if self.events.len() >= MAX_KEPT || self.bytes + bytes > MAX_KEPT_BYTES {
                    self.dropped += 1;
                    if self.dropped.is_power_of_two() {
                        tracing::warn!(dropped = self.dropped, "notifications of a parked call are dropped");
                    }
                    return;
                }
                self.bytes += bytes;
            }
            Event::Done(_) => return,
        }
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::Notification(notification)) = &event {
            self.bytes -= params_len(notification);
        }
        event.or_else(|| self.outcome.take().map(Event::Done))
    }
}

impl Kept {
    /// The next event; pending for ever after the last one. Cancel-safe.
    pub(super) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.lock().pop() {
                return event;
            }
            self.reader.notified().await;
        }
    }

    /// Sets when the retry must have come; `None` when it is here.
    pub(super) fn wait_until(&self, due: Option<Instant>) {
        self.lock().due = due;
        self.driver.notify_one();
    }

    /// When the retry must have come.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lock().due
    }

    /// Ends it with this outcome, unless it has one.
    pub(super) fn finish(&self, outcome: Outcome) {
        self.lock().outcome.get_or_insert(outcome);
        self.reader.notify_one();
    }

    /// Lets go of the call: the server is told, if it has not answered.
    pub(super) fn release(&self) {
        self.stop.cancel();
    }

    fn push(&self, event: Event) {
        self.lock().push(event);
        self.reader.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives a call from when it is parked the first time until it is let go.
pub(super) async fn drive(desk: Arc<Desk>, id: i64, mut events: Reply, kept: Arc<Kept>) {
    let mut answered = false;
    loop {
        let due = kept.due();
        let event = tokio::select! {
            biased;
            () = kept.stop.cancelled() => return,
            event = events.next(), if !answered => event,
            () = kept.driver.notified() => continue,
            () = at(due) => {
                if desk.expire(id) {
                    return;
                }
                continue;
            }
        };
        match event {
            Some(Event::Done(outcome)) => {
                kept.finish(outcome);
                desk.answered(id);
                answered = true;
            }
            // About requests of the server, and not for the caller as they are.
            Some(Event::Notification(notification)) if notification.method == Method::Cancelled => {
                desk.withdraw(&notification);
            }
            Some(Event::Notification(notification)) if notification.method == Method::ElicitationComplete => {
                desk.completed(&notification);
            }
            Some(event) => kept.push(event),
            None => answered = true,
        }
    }
}
