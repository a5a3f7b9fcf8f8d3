//! The open sessions, by id.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use spanwire_era::session as era;
use spanwire_mcp::header;
use spanwire_model::{Dispatch, Error, ErrorKind, NodeId};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    feed::{self, Feed},
    replay::Bounds,
    session::{Opened, Session},
};
use crate::server::{
    Caller, Config, SessionPlaces,
    agreement::single,
    refusal::Refusal,
    relay::{Elsewhere, new_session_id},
};

/// Hexadecimal digits of a session's tag.
const TAG_LENGTH: usize = 12;

/// What the session header of a request names.
pub(crate) enum Found {
    /// There is no header.
    Absent,
    /// No session of this caller and view.
    Unknown,
    /// One of another node.
    Elsewhere(Elsewhere),
    /// This one.
    Session(Arc<Session>),
}

/// Every open session. Dropping it ends them.
pub(crate) struct Sessions {
    node: Option<NodeId>,
    open: Arc<Table>,
    places: SessionPlaces,
    bounds: Bounds,
    idle_timeout: Duration,
    listen_timeout: Duration,
    dispatch: Arc<dyn Dispatch>,
    closed: CancellationToken,
    _guard: DropGuard,
}

/// The table itself: a session takes itself out when it ends.
#[derive(Default)]
pub(super) struct Table(RwLock<HashMap<Arc<str>, Arc<Session>>>);

impl Table {
    fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn remove(&self, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Sessions {
    pub(crate) fn new(config: &Config, node: Option<NodeId>, dispatch: Arc<dyn Dispatch>) -> Self {
        let closed = config.shutdown.child_token();
        Self {
            node,
            open: Arc::default(),
            places: config.sessions.clone(),
            bounds: Bounds {
                max_waiting: config.max_session_events,
                max_events: config.max_replay_events,
                max_bytes: config.max_replay_bytes,
                resume_timeout: config.resume_timeout,
            },
            idle_timeout: config.session_idle_timeout,
            listen_timeout: config.max_call_timeout,
            dispatch,
            _guard: closed.clone().drop_guard(),
            closed,
        }
    }

    /// The session that a request names. One of another principal or view is as unknown as one that never was.
    pub(crate) fn find(&self, caller: &Caller) -> Result<Found, Refusal> {
        let Some(id) = single(&caller.headers, header::SESSION_ID, "Mcp-Session-Id")? else { return Ok(Found::Absent) };
        let found = self.open.get(id).filter(|session| !session.is_closed() && session.belongs_to(caller));
        Ok(match found {
            Some(session) => Found::Session(session),
            None => Elsewhere::of(self.node.as_ref(), caller, id).map_or(Found::Unknown, Found::Elsewhere),
        })
    }

    /// A fresh id, which names this node.
    pub(crate) fn new_id(&self) -> Arc<str> {
        new_session_id(self.node.as_ref())
    }

    /// Takes a place for a new session.
    pub(crate) fn reserve(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.places.take().ok_or_else(|| {
            let text = format!("too many sessions: the limit is {}", self.places.max());
            Error::new(ErrorKind::Overloaded, text)
        })
    }

    /// Opens a session; its task ends it when it is idle for too long.
    pub(crate) fn open(&self, id: Arc<str>, caller: &Caller, mut state: era::Session, place: OwnedSemaphorePermit) {
        state.set_tag(tag());
        let (commands, receiver) = feed::channel();
        let session = Arc::new(Session::new(Opened {
            id: id.clone(),
            principal: caller.principal.clone(),
            view: caller.view.clone(),
            state,
            commands,
            closed: self.closed.child_token(),
            bounds: self.bounds,
        }));
        self.open.0.write().unwrap_or_else(PoisonError::into_inner).insert(id, session.clone());
        let feed = Feed {
            session,
            dispatch: self.dispatch.clone(),
            table: Arc::downgrade(&self.open),
            idle_timeout: self.idle_timeout,
            listen_timeout: self.listen_timeout,
            resume_timeout: self.bounds.resume_timeout,
            address: caller.address,
            place,
        };
        tokio::spawn(feed.run(receiver));
    }
}

/// What the ids of one session's requests to its client begin with: an answer that is posted to another session, as a host does that
/// did not notice that its session was opened again, finds nothing there.
fn tag() -> Arc<str> {
    let mut text = Uuid::new_v4().simple().to_string();
    text.truncate(TAG_LENGTH);
    text.into()
}
