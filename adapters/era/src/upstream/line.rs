//! One connection with what every request on it needs.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, Ordering},
};

use spanwire_mcp::{Json, Method, Notification, Revision};
use spanwire_model::{Outcome, Reply, TraceContext};

use super::wire::{Wire, WireRequest};

/// A wire, our ids on it, and the revision once it is known.
pub(super) struct Line {
    /// The server's id, for texts.
    pub server: Arc<str>,
    /// The connection.
    pub wire: Arc<dyn Wire>,
    /// Who we are: `clientInfo`.
    pub client_info: Json,
    ids: AtomicI64,
    revision: OnceLock<Revision>,
}

impl Line {
    pub(super) fn new(server: Arc<str>, wire: Arc<dyn Wire>, client_info: Json) -> Self {
        Self { server, wire, client_info, ids: AtomicI64::new(1), revision: OnceLock::new() }
    }

    /// The next id of ours.
    pub(super) fn next_id(&self) -> i64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The revision that is spoken; the newest legacy one while that is still being found out.
    pub(super) fn revision(&self) -> Revision {
        self.revision.get().copied().unwrap_or(Revision::LATEST_LEGACY)
    }

    /// Settles the revision.
    pub(super) fn settle(&self, revision: Revision) {
        let _ = self.revision.set(revision);
    }

    /// Sends a request whose params are final.
    pub(super) fn send(&self, id: i64, method: Method, params: Json, trace: Option<TraceContext>) -> Reply {
        self.wire.request(WireRequest { id, revision: self.revision(), method, params, trace })
    }

    /// Asks something on the broker's own behalf.
    pub(super) async fn ask(&self, method: Method, params: Json) -> Outcome {
        self.send(self.next_id(), method, params, None).outcome().await
    }

    /// Sends a notification.
    pub(super) async fn notify(&self, method: Method) -> spanwire_model::Result<()> {
        self.wire.notify(self.revision(), Notification { method, params: None }).await
    }
}
