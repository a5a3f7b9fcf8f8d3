//! Leases of one node alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use spanwire_model::{Holding, Holdings, Lease, Leases, NodeId, Result};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{check, first_token};

/// How far ahead a lease is valid: nobody else can take it, so only its release ends it.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Leases of one node alone: a lease ends when it is given back. Cloning makes another handle on the same leases.
///
/// Tokens begin with the milliseconds since 1970, so that they also grow over restarts of the node, unless its clock was set back.
#[derive(Debug, Clone)]
pub struct MemoryLeases {
    node: NodeId,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    next_token: Mutex<u64>,
    holdings: watch::Sender<Arc<Holdings>>,
}

impl MemoryLeases {
    /// No leases yet.
    pub fn new(node: NodeId) -> Self {
        let holdings = watch::channel(Arc::new(BTreeMap::new())).0;
        Self { node, state: Arc::new(State { next_token: Mutex::new(first_token()), holdings }) }
    }
}

impl State {
    /// The token of the new holder, or nothing when there is one.
    fn take(&self, name: &Arc<str>, node: &NodeId) -> Option<u64> {
        let mut next = self.next_token.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = None;
        self.holdings.send_if_modified(|holdings| {
            if holdings.contains_key(name) {
                return false;
            }
            let token = *next;
            *next += 1;
            taken = Some(token);
            Arc::make_mut(holdings).insert(name.clone(), Holding { node: node.clone(), token });
            true
        });
        taken
    }

    fn give_back(&self, name: &Arc<str>) {
        self.holdings.send_modify(|holdings| {
            Arc::make_mut(holdings).remove(name);
        });
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>> {
        check(name, ttl)?;
        let name: Arc<str> = name.into();
        let Some(token) = self.state.take(&name, &self.node) else { return Ok(None) };
        let (lease, keeper) = Lease::new(name.clone(), token, Instant::now() + FOREVER);
        let state = self.state.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = keeper.released.cancelled() => {}
                () = keeper.lost.cancelled() => if !keeper.released.is_cancelled() {
                    // It is to run out as it would elsewhere.
                    sleep(ttl).await;
                },
            }
            keeper.lost.cancel();
            state.give_back(&name);
            keeper.done.cancel();
        });
        Ok(Some(lease))
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        self.state.holdings.subscribe()
    }
}
