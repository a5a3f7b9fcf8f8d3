//! Who serves what, and who listens. Every lock here is held for a look-up only.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use spanwire_model::{Address, BusHandler, Error, ErrorKind, Publication, Result, ServeOn, Tenant};
use tokio::sync::broadcast;

use super::Node;

/// A handler of a node.
#[derive(Clone)]
pub(super) struct Seat {
    id: u64,
    pub(super) node: Arc<Node>,
    pub(super) handler: Arc<dyn BusHandler>,
}

/// Finds a seat again to remove it.
pub(super) struct SeatId {
    tenant: Tenant,
    address: Address,
    id: u64,
}

type Places = HashMap<Tenant, HashMap<Key, Vec<Seat>>>;
type Topics = HashMap<(Tenant, String), broadcast::Sender<Publication>>;

#[derive(Default)]
pub(super) struct Seats {
    places: Mutex<Places>,
    topics: Mutex<Topics>,
    next_id: AtomicU64,
    turn: AtomicUsize,
}

/// An address that can be hashed.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Server(String),
    Node(String),
}

impl Key {
    fn of(address: &Address) -> Self {
        match address {
            Address::Server(server) => Self::Server(server.to_string()),
            Address::Node(node) => Self::Node(node.to_string()),
        }
    }
}

impl Seats {
    /// A poisoned lock still holds whole entries: each critical section is one insertion or removal.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, node: Arc<Node>, on: ServeOn, handler: Arc<dyn BusHandler>) -> Result<SeatId> {
        let address = match on {
            ServeOn::Server(server) => Address::Server(server),
            ServeOn::Node => Address::Node(node.id.clone()),
        };
        let (id, tenant) = (self.next_id.fetch_add(1, Ordering::Relaxed), node.tenant.clone());
        let mut places = self.places();
        let seats = places.entry(tenant.clone()).or_default().entry(Key::of(&address)).or_default();
        if matches!(address, Address::Node(_)) && !seats.is_empty() {
            return Err(Error::new(ErrorKind::Internal, format!("node \"{}\" is served already", node.id)));
        }
        seats.push(Seat { id, node, handler });
        Ok(SeatId { tenant, address, id })
    }

    pub(super) fn remove(&self, seat: &SeatId) {
        let mut places = self.places();
        let Some(of_tenant) = places.get_mut(&seat.tenant) else { return };
        let key = Key::of(&seat.address);
        if let Some(seats) = of_tenant.get_mut(&key) {
            seats.retain(|other| other.id != seat.id);
            if seats.is_empty() {
                of_tenant.remove(&key);
            }
        }
    }

    pub(super) fn remove_node(&self, node: &Arc<Node>) {
        if let Some(of_tenant) = self.places().get_mut(&node.tenant) {
            of_tenant.retain(|_, seats| {
                seats.retain(|seat| !Arc::ptr_eq(&seat.node, node));
                !seats.is_empty()
            });
        }
    }

    /// One seat of the address; replicas take turns.
    pub(super) fn pick(&self, tenant: &Tenant, to: &Address) -> Option<Seat> {
        let places = self.places();
        let seats = places.get(tenant)?.get(&Key::of(to))?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        seats.get(turn.checked_rem(seats.len())?).cloned()
    }

    pub(super) fn publish(&self, tenant: &Tenant, publication: Publication) {
        let mut topics = self.topics();
        let key = (tenant.clone(), publication.topic.kind.clone());
        // An error means that the last subscriber has gone.
        if topics.get(&key).is_some_and(|tx| tx.send(publication).is_err()) {
            topics.remove(&key);
        }
    }

    pub(super) fn subscribe(&self, tenant: &Tenant, kind: &str, max: usize) -> broadcast::Receiver<Publication> {
        self.topics().entry((tenant.clone(), kind.to_owned())).or_insert_with(|| broadcast::channel(max).0).subscribe()
    }
}
