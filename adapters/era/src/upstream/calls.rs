//! The calls in flight on one connection, and who gets what the server sends.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use spanwire_mcp::{ErrorObject, Json, Message, Method, Notification, RequestId};
use spanwire_model::{Error, ErrorKind, Event, Outcome};
use tokio::{sync::Notify, time::Instant};

use super::{incoming::is_of_task, wire::Unasked};

/// How long a cancelled call may still log. Meanwhile a log message without an address is about no call.
const CANCELLED_MAY_LOG: Duration = Duration::from_secs(30);
/// Notifications that wait for a slow reader of one call; more are dropped, counted and logged.
const MAX_QUEUED: usize = 1024;
/// Bytes of params that wait for a slow reader of one call.
const MAX_QUEUED_BYTES: usize = 16 * 1024 * 1024;
/// Progress notifications that wait; above it the newest one replaces the one before.
const MAX_QUEUED_PROGRESS: usize = 16;

/// The calls in flight on one connection. A reader task delivers into it and is never blocked by a slow call.
#[derive(Debug, Default)]
pub struct Calls {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<i64, Arc<Slot>>,
    /// When a call was left last that the server had not answered.
    cancelled: Option<Instant>,
    closed: Option<Arc<str>>,
}

#[derive(Debug)]
struct Slot {
    method: Method,
    mailbox: Mutex<Mailbox>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Mailbox {
    queue: VecDeque<Event>,
    queued_bytes: usize,
    queued_progress: usize,
    dropped: u64,
    outcome: Option<Outcome>,
}

/// Where the events of one call arrive. Dropping it removes the call from the table.
#[derive(Debug)]
pub struct Inbox {
    calls: Arc<Calls>,
    slot: Arc<Slot>,
    id: i64,
    done: bool,
}

/// The members that say which call a notification belongs to.
#[derive(Deserialize)]
struct Address {
    #[serde(default, rename = "progressToken")]
    progress_token: Option<RequestId>,
    #[serde(default, rename = "requestId")]
    request_id: Option<RequestId>,
    #[serde(default, rename = "_meta")]
    meta: Option<AddressMeta>,
}

#[derive(Deserialize)]
struct AddressMeta {
    #[serde(default, rename = "io.modelcontextprotocol/subscriptionId")]
    subscription_id: Option<RequestId>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    /// Enters a call. Fails with `Unavailable` when the connection is gone.
    pub fn open(self: &Arc<Self>, id: i64, method: &Method) -> Result<Inbox, Error> {
        let mut table = lock(&self.table);
        if let Some(reason) = &table.closed {
            return Err(Error::new(ErrorKind::Unavailable, reason.to_string()));
        }
        let slot = Arc::new(Slot { method: method.clone(), mailbox: Mutex::default(), wake: Notify::new() });
        table.open.insert(id, slot.clone());
        Ok(Inbox { calls: self.clone(), slot, id, done: false })
    }

    /// Delivers a response. `false` when no such call is in flight (any more).
    pub fn answer(&self, id: Option<&RequestId>, outcome: Result<Json, ErrorObject>) -> bool {
        let Some(RequestId::Number(id)) = id else { return false };
        self.finish(*id, outcome.map_err(Error::from_server))
    }

    /// Ends one call. `false` when no such call is in flight (any more).
    pub fn finish(&self, id: i64, outcome: Outcome) -> bool {
        let Some(slot) = lock(&self.table).open.remove(&id) else { return false };
        slot.finish(outcome);
        true
    }

    /// Delivers a notification, or gives it back when it belongs to no call. Progress of a call that is over is
    /// swallowed.
    pub fn notify(&self, notification: Notification) -> Option<Notification> {
        let slot = match &notification.method {
            Method::Progress => self.addressed(&notification, |address| address.progress_token)?,
            Method::Cancelled => return self.cancelled(notification),
            // It names its task, and the task's call is over.
            Method::LogMessage if is_of_task(notification.params.as_ref()) => return Some(notification),
            Method::LogMessage => match self.only_call() {
                Some(slot) => slot,
                None => return Some(notification),
            },
            _ => match self.addressed(&notification, |address| address.meta?.subscription_id) {
                Some(slot) => slot,
                None => return Some(notification),
            },
        };
        slot.push(notification);
        None
    }

    /// Delivers a message that came on no call's own stream, or gives back what belongs to no call.
    pub fn deliver(&self, server: &str, message: Message) -> Option<Unasked> {
        match message {
            Message::Response(response) => {
                if !self.answer(response.id.as_ref(), response.outcome) {
                    tracing::debug!(server, id = ?response.id, "response to no call in flight");
                }
                None
            }
            Message::Notification(notification) => self.notify(notification).map(Unasked::Notification),
            Message::Request(request) => Some(Unasked::Request { request, call: None }),
        }
    }

    /// Delivers a notification to a call by its id.
    pub fn push(&self, id: i64, notification: Notification) {
        let slot = lock(&self.table).open.get(&id).cloned();
        if let Some(slot) = slot {
            slot.push(notification);
        }
    }

    /// Ends every call with `StreamLost` and refuses new ones. `reason` begins with the server.
    pub fn close(&self, reason: &Arc<str>) {
        let open = {
            let mut table = lock(&self.table);
            table.closed.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut table.open)
        };
        for slot in open.into_values() {
            let text = format!("{reason} during {}", slot.method);
            slot.finish(Err(Error::new(ErrorKind::StreamLost, text)));
        }
    }

    /// Why the connection is gone, if it is.
    pub fn closed(&self) -> Option<Arc<str>> {
        lock(&self.table).closed.clone()
    }

    /// How many calls are in flight.
    pub fn len(&self) -> usize {
        lock(&self.table).open.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn addressed(&self, of: &Notification, id: impl Fn(Address) -> Option<RequestId>) -> Option<Arc<Slot>> {
        let address: Address = of.params.as_ref()?.read().ok()?;
        let RequestId::Number(id) = id(address)? else { return None };
        lock(&self.table).open.get(&id).cloned()
    }

    /// The one call that a log message without an address can belong to.
    fn only_call(&self) -> Option<Arc<Slot>> {
        let table = lock(&self.table);
        if table.cancelled.is_some_and(|at| at.elapsed() < CANCELLED_MAY_LOG) {
            return None;
        }
        let mut calls = table.open.values().filter(|slot| may_log(&slot.method));
        calls.next().filter(|_| calls.next().is_none()).cloned()
    }

    /// A server cancels a listen stream when it tears it down (2026-07-28, basic/patterns/cancellation).
    fn cancelled(&self, notification: Notification) -> Option<Notification> {
        let slot = self.addressed(&notification, |address| address.request_id);
        if let Some(slot) = slot.filter(|slot| slot.method == Method::Listen) {
            slot.finish(Ok(Json::from_trusted("{\"resultType\":\"complete\"}")));
            return None;
        }
        Some(notification)
    }
}

/// False for requests that the broker makes on its own behalf, or that last: a log message is not about them.
fn may_log(method: &Method) -> bool {
    !matches!(
        method,
        Method::Listen
            | Method::SetLevel
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::TasksGet
            | Method::TasksResult
            | Method::TasksCancel
            | Method::Initialize
            | Method::Discover
            | Method::Ping
    )
}

impl Slot {
    fn finish(&self, outcome: Outcome) {
        lock(&self.mailbox).outcome.get_or_insert(outcome);
        self.wake.notify_one();
    }

    fn push(&self, notification: Notification) {
        lock(&self.mailbox).push(notification, &self.method);
        self.wake.notify_one();
    }
}

impl Mailbox {
    fn push(&mut self, notification: Notification, method: &Method) {
        let bytes = notification.params.as_ref().map_or(0, Json::len);
        if notification.method == Method::Progress {
            if self.queued_progress >= MAX_QUEUED_PROGRESS {
                self.drop_newest_progress();
            }
            self.queued_progress += 1;
            self.queued_bytes += bytes;
            self.queue.push_back(Event::Progress(notification));
        } else if self.queue.len() >= MAX_QUEUED || self.queued_bytes + bytes > MAX_QUEUED_BYTES {
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                tracing::warn!(%method, dropped = self.dropped, "notifications of a slow call are dropped");
            }
        } else {
            self.queued_bytes += bytes;
            self.queue.push_back(Event::Notification(notification));
        }
    }

    fn drop_newest_progress(&mut self) {
        let newest = self.queue.iter().rposition(|event| matches!(event, Event::Progress(_)));
        if let Some(event) = newest.and_then(|index| self.queue.remove(index)) {
            self.forget(&event);
        }
    }

    fn forget(&mut self, event: &Event) {
        let (Event::Progress(notification) | Event::Notification(notification)) = event else { return };
        self.queued_bytes -= notification.params.as_ref().map_or(0, Json::len);
        if matches!(event, Event::Progress(_)) {
            self.queued_progress -= 1;
        }
    }

    fn pop(&mut self) -> Option<Event> {
        match self.queue.pop_front() {
            Some(event) => {
                self.forget(&event);
                Some(event)
            }
            None => self.outcome.take().map(Event::Done),
        }
    }
}

impl Inbox {
    /// The next event; pending for ever after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            self.slot.wake.notified().await;
        }
    }

    /// The next event if it is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = lock(&self.slot.mailbox).pop();
        self.done |= matches!(event, Some(Event::Done(_)));
        event
    }

    /// True when the last event was taken, or waits to be: there is nothing to cancel.
    pub fn is_done(&self) -> bool {
        self.done || lock(&self.slot.mailbox).outcome.is_some()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let cancelled = !self.is_done() && may_log(&self.slot.method);
        let mut table = lock(&self.calls.table);
        table.open.remove(&self.id);
        if cancelled {
            table.cancelled = Some(Instant::now());
        }
    }
}
