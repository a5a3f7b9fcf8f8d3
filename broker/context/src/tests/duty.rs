//! Keys go by themselves, by whoever has the lease.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use spanwire_model::{Holdings, Lease, LeaseKeeper, Leases, Result};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    key, now, options, put_for,
    service::{ann, contexts},
    space,
};
use crate::{DUTY, EXPIRY, EventKind, LogQuery, Transaction};

/// One lease, for whoever comes first.
#[derive(Default)]
struct OneLease {
    keeper: Mutex<Option<LeaseKeeper>>,
}

#[async_trait]
impl Leases for OneLease {
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>> {
        assert_eq!(name, DUTY);
        let mut keeper = self.keeper.lock().unwrap();
        if keeper.as_ref().is_some_and(|keeper| !keeper.released.is_cancelled()) {
            return Ok(None);
        }
        let (lease, new) = Lease::new(name, 1, Instant::now() + ttl * 100);
        // Given back at once when it is wanted back.
        let (released, done) = (new.released.clone(), new.done.clone());
        tokio::spawn(async move {
            released.cancelled().await;
            done.cancel();
        });
        *keeper = Some(new);
        Ok(Some(lease))
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        watch::channel(Arc::new(BTreeMap::new())).1
    }
}

#[tokio::test]
async fn keys_go_when_their_time_is_over() {
    let (contexts, _, _) = contexts();
    let ann = ann(&contexts);
    for name in ["s", "t", "u", "v"] {
        ann.write(&space(name), Transaction::one(put_for("a", "1", 1)), options()).await.unwrap();
        ann.write(&space(name), Transaction::one(put_for("b", "1", 3_600_000)), options()).await.unwrap();
    }
    let (leases, stop) = (Arc::new(OneLease::default()), CancellationToken::new());
    let duty = tokio::spawn(contexts.clone().expire(leases.clone(), stop.clone()));
    let until = Instant::now() + Duration::from_secs(30);
    for name in ["s", "t", "u", "v"] {
        while ann.get(&space(name), &key("a"), now()).await.unwrap().value.is_some() {
            assert!(Instant::now() < until, "the key of {name} is still there");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let page = ann.log(&space(name), &LogQuery::default(), now()).await.unwrap().value;
        let last = page.events.last().unwrap();
        assert_eq!((last.kind, &*last.writer.principal), (EventKind::Expire, EXPIRY));
        assert!(ann.get(&space(name), &key("b"), now()).await.unwrap().value.is_some());
    }
    stop.cancel();
    duty.await.unwrap();
    assert!(leases.acquire(DUTY, Duration::from_secs(3)).await.unwrap().is_some());
}

#[tokio::test]
async fn without_the_lease_nothing_is_done() {
    let (contexts, ledger, _) = contexts();
    ann(&contexts).write(&space("s"), Transaction::one(put_for("a", "1", 1)), options()).await.unwrap();
    let leases = Arc::new(OneLease::default());
    let _theirs = leases.acquire(DUTY, Duration::from_secs(3)).await.unwrap().unwrap();
    let stop = CancellationToken::new();
    // As many looks as there are in a long time, without it.
    tokio::time::pause();
    let duty = tokio::spawn(contexts.clone().expire(leases, stop.clone()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    stop.cancel();
    duty.await.unwrap();
    assert_eq!(ledger.entries(crate::Contexts::shard_of(&space("s"))).len(), 1);
}
