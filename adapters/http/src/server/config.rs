//! Limits and addresses of the client edge.

use std::{sync::Arc, time::Duration};

use spanwire_model::EraChoice;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Configuration of [`super::router`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Which eras clients may speak.
    pub era: EraChoice,
    /// Longest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Values of `Origin` that may call: `scheme://host`, `scheme://host:port`, or `scheme://host:*` for any port. A
    /// request without the header is no browser's and passes.
    pub allowed_origins: Vec<String>,
    /// Values of `Host` that are ours: `host` for any port, `host:port`, or `*` for every host. Guards against DNS
    /// rebinding; the names and addresses that the node listens on belong in here.
    pub allowed_hosts: Vec<String>,
    /// Budget of a call.
    pub default_call_timeout: Duration,
    /// Upper bound of every budget, and the budget of `subscriptions/listen`, which is meant to last.
    pub max_call_timeout: Duration,
    /// A comment is sent on an event stream after this much silence; a reply that has not begun by then becomes a stream.
    pub keep_alive: Duration,
    /// A request's body must have arrived after this.
    pub body_read_timeout: Duration,
    /// A legacy session without requests and without an open stream ends after this.
    pub session_idle_timeout: Duration,
    /// A legacy client that is asked something in mid-call (elicitation, sampling, roots) must have answered after this. It does not
    /// count against the budget of the call.
    pub input_timeout: Duration,
    /// A request of a legacy session goes on for this long after the connection of its stream broke; its client may come back with
    /// the id of the last event that it has seen, and read on.
    pub resume_timeout: Duration,
    /// A reply that has not begun after this becomes a stream for a legacy client that such a stream gives an id to come back with.
    pub stream_after: Duration,
    /// Events that are kept for one legacy session so that its clients can read on; beyond that the oldest that was sent is dropped.
    pub max_replay_events: usize,
    /// The same in bytes. A single message may be larger.
    pub max_replay_bytes: usize,
    /// Places for sessions of legacy clients.
    pub sessions: SessionPlaces,
    /// Open `subscriptions/listen` and GET streams at once, per principal.
    pub max_listen_streams: usize,
    /// Notifications kept for a legacy session while it has no GET stream; beyond that the oldest is dropped.
    pub max_session_events: usize,
    /// Ends listen streams (gracefully) and sessions when the node shuts down.
    pub shutdown: CancellationToken,
}

impl Default for Config {
    fn default() -> Self {
        let own = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Self {
            era: EraChoice::Auto,
            max_body_bytes: 16 * 1024 * 1024,
            allowed_origins: own(&[
                "http://localhost:*",
                "http://127.0.0.1:*",
                "http://[::1]:*",
                "https://localhost:*",
                "https://127.0.0.1:*",
                "https://[::1]:*",
            ]),
            allowed_hosts: own(&["localhost", "127.0.0.1", "[::1]"]),
            default_call_timeout: Duration::from_secs(60),
            max_call_timeout: Duration::from_secs(24 * 60 * 60),
            keep_alive: Duration::from_secs(15),
            body_read_timeout: Duration::from_secs(10),
            session_idle_timeout: Duration::from_secs(30 * 60),
            input_timeout: Duration::from_secs(10 * 60),
            resume_timeout: Duration::from_secs(60),
            stream_after: Duration::from_secs(1),
            max_replay_events: 256,
            max_replay_bytes: 1024 * 1024,
            sessions: SessionPlaces::new(10_000),
            max_listen_streams: 64,
            max_session_events: 256,
            shutdown: CancellationToken::new(),
        }
    }
}

/// Places for sessions of legacy clients: a bound, and how many are taken. Clones share the places.
#[derive(Debug, Clone)]
pub struct SessionPlaces {
    places: Arc<Semaphore>,
    max: usize,
}

impl SessionPlaces {
    /// So many places, none of them taken.
    pub fn new(max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(max)), max }
    }

    /// Sessions that are open.
    pub fn taken(&self) -> usize {
        self.max.saturating_sub(self.places.available_permits())
    }

    /// Takes a place; `None` when all are taken.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

/// Bounds of the connections that [`super::serve`] accepts.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// From the first byte of a request until its headers are complete.
    pub header_read_timeout: Duration,
    /// A connection without a request, or one whose peer does not read what is sent, is closed after this.
    pub idle_timeout: Duration,
    /// Requests that run when the node shuts down may take this long to end.
    pub drain_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
