//! A backbone inside one process.
//!
//! A [`Hub`] connects any number of nodes; a broker of one node has a hub with one. Requests are handled on a task of the
//! serving node, so a slow caller slows the handler through a bounded channel and not through the caller's own polls.

mod request;
mod seats;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use spanwire_model::{
    Address, Backbone, BusHandler, BusMessage, BusReply, BusRequest, Error, ErrorKind, NodeId, Publication, Result,
    ServeGuard, ServeOn, Tenant, Topic,
};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{failure, gauge::InFlight};
use seats::Seats;

/// How long running calls may take to end when the node closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Limits of a hub.
#[derive(Debug, Clone)]
pub struct Config {
    /// Frames of one reply that wait for the caller; from 1.
    pub window_frames: usize,
    /// Largest request, frame or publication, in bytes.
    pub max_message_bytes: usize,
    /// Publications that wait for one subscriber before it is told of a gap.
    pub max_waiting_publications: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window_frames: crate::WINDOW_FRAMES,
            max_message_bytes: crate::MAX_MESSAGE_BYTES,
            max_waiting_publications: 1024,
        }
    }
}

/// Connects the nodes of one process. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// One node's end of a [`Hub`]. Dropping it closes it.
pub struct Memory {
    shared: Arc<Shared>,
    node: Arc<Node>,
}

pub(crate) struct Shared {
    config: Config,
    seats: Seats,
}

/// What the hub knows of a node.
pub(crate) struct Node {
    id: NodeId,
    tenant: Tenant,
    closed: CancellationToken,
    tasks: TaskTracker,
    in_flight: InFlight,
}

impl Hub {
    /// A hub without nodes.
    pub fn new(config: Config) -> Self {
        let config = Config {
            window_frames: config.window_frames.max(1),
            max_waiting_publications: config.max_waiting_publications.max(1),
            ..config
        };
        Self(Arc::new(Shared { config, seats: Seats::default() }))
    }

    /// Connects a node. Nodes of different tenants do not reach each other.
    pub fn node(&self, id: NodeId, tenant: Tenant) -> Arc<Memory> {
        let node = Node {
            id,
            tenant,
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            in_flight: InFlight::default(),
        };
        Arc::new(Memory { shared: self.0.clone(), node: Arc::new(node) })
    }
}

impl Memory {
    fn leave(&self) {
        self.node.closed.cancel();
        self.node.tasks.close();
        self.shared.seats.remove_node(&self.node);
    }

    fn open(&self) -> Result<()> {
        if self.node.closed.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, format!("node \"{}\" is shutting down", self.node.id)));
        }
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.leave();
    }
}

#[async_trait]
impl Backbone for Memory {
    fn request(&self, to: Address, request: BusRequest) -> BusReply {
        request::send(self.shared.clone(), self.node.clone(), to, request)
    }

    async fn serve(&self, on: ServeOn, handler: Arc<dyn BusHandler>) -> Result<ServeGuard> {
        self.open()?;
        let seat = self.shared.seats.add(self.node.clone(), on, handler)?;
        let shared = Arc::downgrade(&self.shared);
        Ok(ServeGuard::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.seats.remove(&seat);
            }
        }))
    }

    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<()> {
        self.open()?;
        let limit = self.shared.config.max_message_bytes;
        if payload.len() > limit {
            return Err(failure::too_large("publication", payload.len(), limit));
        }
        let publication = Publication { topic: topic.clone(), from: self.node.id.clone(), payload };
        self.shared.seats.publish(&self.node.tenant, publication);
        Ok(())
    }

    async fn subscribe(&self, kind: &str) -> Result<BoxStream<'static, BusMessage>> {
        self.open()?;
        let mut rx = self.shared.seats.subscribe(&self.node.tenant, kind, self.shared.config.max_waiting_publications);
        let closed = self.node.closed.clone();
        let messages = async_stream::stream! {
            loop {
                match rx.recv().await {
                    Ok(publication) => yield BusMessage::Publication(publication),
                    Err(RecvError::Lagged(_)) => yield BusMessage::Gap,
                    Err(RecvError::Closed) => break,
                }
            }
        };
        Ok(messages.take_until(closed.cancelled_owned()).boxed())
    }

    fn is_connected(&self) -> bool {
        !self.node.closed.is_cancelled()
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    fn in_flight(&self) -> BTreeMap<&'static str, u64> {
        self.node.in_flight.facts()
    }

    async fn close(&self) {
        self.leave();
        // What is dropped ends at its next await; a handler that never comes to one is not waited for.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.node.tasks.wait()).await;
    }
}
