//! The tasks that a session knows: those of servers as they were last seen, and those that are kept here.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use spanwire_mcp::{Json, ObjectWriter, input::InputRequest, string_literal};
use uuid::Uuid;

use crate::tasks::{Status, id_of};

/// Tasks that one session knows; the oldest that is over is forgotten first, then the oldest.
pub(super) const MAX_TASKS: usize = 256;
/// Results that one session keeps, in bytes together; the oldest go first. The newest one stays in any case.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;
/// How long a result is kept for a client that does not say, in milliseconds: an hour.
const KEEP_MS: u64 = 60 * 60 * 1000;
/// The longest that one is kept, in milliseconds: a day.
const KEEP_LONGEST_MS: u64 = 24 * KEEP_MS;
/// Answered questions of one task that are remembered, so that they are not asked again; the rest is asked again at worst.
const MAX_ANSWERED: usize = 256;

/// The tasks of one session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Table {
    known: Vec<Known>,
}

#[derive(Debug)]
pub(super) struct Known {
    id: String,
    /// As it was last seen, in the form of 2025-11-25.
    pub(super) task: Json,
    /// The result, when it is kept here.
    pub(super) kept: Option<Json>,
    /// This client has cancelled it: it stays so for the client, whatever the server still does.
    cancelled: bool,
    until: Option<Instant>,
    answered: BTreeSet<String>,
    /// Who asks the client what.
    asking: HashMap<String, Weak<()>>,
}

impl Table {
    /// A task with this id.
    pub(super) fn get(&mut self, id: &str) -> Option<&mut Known> {
        self.forget_expired();
        self.known.iter_mut().find(|known| known.id == id)
    }

    /// The tasks of a page, and where the next one begins.
    pub(super) fn page(&mut self, from: usize, size: usize) -> (Vec<(String, Json, bool)>, Option<usize>) {
        self.forget_expired();
        let page = self.known.iter().skip(from).take(size);
        let page = page.map(|known| (known.id.clone(), known.task.clone(), known.kept.is_some())).collect();
        let next = from.saturating_add(size);
        (page, (next < self.known.len()).then_some(next))
    }

    /// Notes a server's task, and says how the client sees it and whether that is new.
    pub(super) fn seen(&mut self, task: Json) -> (Json, bool) {
        let Some(id) = id_of(&task) else { return (task, false) };
        if let Some(known) = self.get(&id) {
            let over = Status::of(&task).is_ok_and(Status::is_terminal);
            let task = if known.cancelled && !over {
                task.with(&[("status", Status::Cancelled.literal().as_bytes())], &[])
            } else {
                task
            };
            let news = known.task != task;
            known.task = task.clone();
            return (task, news);
        }
        self.insert(Known::new(id, task.clone()));
        (task, true)
    }

    /// Keeps the result of a call as a task that is over; the task.
    pub(super) fn keep(&mut self, wish: &Json, result: Json) -> Json {
        let wished = wish.get("ttl").and_then(|ttl| ttl.read::<f64>().ok()).filter(|ttl| *ttl >= 0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is bounded")]
        let ttl_ms = wished.map_or(KEEP_MS, |ttl| (ttl as u64).min(KEEP_LONGEST_MS));
        let failed = result.get("isError").is_some_and(|flag| flag.as_str() == "true");
        let status = if failed { Status::Failed } else { Status::Completed };
        let (id, now) = (Uuid::new_v4().to_string(), string_literal(&timestamp(SystemTime::now())));
        let mut task = ObjectWriter::with_capacity(256);
        task.member("taskId", string_literal(&id).as_bytes());
        task.member("status", status.literal().as_bytes());
        task.member("createdAt", now.as_bytes());
        task.member("lastUpdatedAt", now.as_bytes());
        task.member("ttl", ttl_ms.to_string().as_bytes());
        let task = task.finish();
        let mut known = Known::new(id, task.clone());
        known.until = Instant::now().checked_add(Duration::from_millis(ttl_ms));
        known.kept = Some(result);
        self.forget_expired();
        self.insert(known);
        self.forget_large();
        task
    }

    /// The client has cancelled a task.
    pub(super) fn cancelled(&mut self, id: &str) {
        if let Some(known) = self.get(id) {
            known.cancelled = true;
        }
    }

    /// Forgets a task that its server does not know any more.
    pub(super) fn forget(&mut self, id: &str) {
        self.known.retain(|known| known.id != id);
    }

    fn insert(&mut self, known: Known) {
        if self.known.len() >= MAX_TASKS {
            let over = self.known.iter().position(|known| Status::of(&known.task).is_ok_and(Status::is_terminal));
            self.known.remove(over.unwrap_or(0));
        }
        self.known.push(known);
    }

    fn forget_expired(&mut self) {
        let now = Instant::now();
        self.known.retain(|known| known.until.is_none_or(|until| now < until));
    }

    fn forget_large(&mut self) {
        let bytes = |known: &Known| known.kept.as_ref().map_or(0, Json::len);
        let mut total: usize = self.known.iter().map(bytes).sum();
        let newest = self.known.len().saturating_sub(1);
        let mut at = 0;
        self.known.retain(|known| {
            at += 1;
            let goes = total > MAX_KEPT_BYTES && known.kept.is_some() && at <= newest;
            if goes {
                total -= bytes(known);
            }
            !goes
        });
    }
}

impl Known {
    fn new(id: String, task: Json) -> Self {
        Self { id, task, kept: None, cancelled: false, until: None, answered: BTreeSet::new(), asking: HashMap::new() }
    }

    /// True when this client has cancelled it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Of what the server asks, what nobody has asked the client: from now on it is the holder's.
    pub(super) fn claim(&mut self, mut requests: Vec<InputRequest>, holder: &Arc<()>) -> Vec<InputRequest> {
        self.asking.retain(|_, asks| asks.strong_count() > 0);
        requests.retain(|request| !self.answered.contains(&request.key) && !self.asking.contains_key(&request.key));
        for request in &requests {
            self.asking.insert(request.key.clone(), Arc::downgrade(holder));
        }
        requests
    }

    /// The client has answered these.
    pub(super) fn answered(&mut self, responses: &Json) {
        for entry in responses.entries() {
            let key = entry.key();
            self.asking.remove(&key);
            if self.answered.len() < MAX_ANSWERED {
                self.answered.insert(key);
            }
        }
    }
}

/// ISO 8601 in UTC, to the millisecond.
pub(super) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days since 0000-03-01, so that a leap day ends its year (proleptic Gregorian calendar; eras of 400 years).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second, ms) = (second / 3_600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}
