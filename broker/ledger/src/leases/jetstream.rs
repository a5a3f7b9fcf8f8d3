//! Leases of a cluster, in a JetStream bucket.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use spanwire_model::{Holdings, Lease, Leases, NodeId, Result};
use spanwire_nats::Connection;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    bucket::{Bucket, REQUEST_TIMEOUT, Written},
    check,
    entry::{Entry, Value, unique},
    keeper::{Held, Sent, valid_until},
    watcher::Watcher,
};

/// How often taking a lease is tried when others try as well and none of them has it yet.
const ACQUIRE_TRIES: usize = 3;

/// How to keep leases in JetStream.
#[derive(Debug, Clone)]
pub struct JetStreamLeasesConfig {
    /// The node, its tenant and the prefix of its subjects.
    pub nats: spanwire_nats::Config,
    /// Copies of the bucket, when this node is the one that makes it. Default: 3 where the servers are a cluster, else 1.
    pub replicas: Option<usize>,
}

/// Leases of a cluster, in the stream `SW_{tenant}_LEASES` on the subjects `{prefix}.{tenant}.lease.{name}`.
///
/// A lease is a message with a time to live; renewing it is another one, which says which it expects to be the last. The token is the
/// sequence of the message that took the lease. An election of JetStream takes up to 10 s: a lease that should survive one needs
/// a time to live of 15 s. Dropping this stops watching; leases that somebody holds go on.
pub struct JetStreamLeases {
    bucket: Arc<Bucket>,
    node: NodeId,
    incarnation: Arc<str>,
    holdings: watch::Receiver<Arc<Holdings>>,
    _closed: DropGuard,
}

impl JetStreamLeases {
    /// Begins to watch, in the background: there need not be a connection yet.
    pub fn start(connection: Connection, config: &JetStreamLeasesConfig) -> Self {
        let bucket = Arc::new(Bucket::new(connection, &config.nats, config.replicas));
        let node = config.nats.node.clone();
        let (sender, holdings) = watch::channel(Arc::new(BTreeMap::new()));
        let closed = CancellationToken::new();
        let watcher = Watcher { bucket: bucket.clone(), node: node.clone(), holdings: sender, closed: closed.clone() };
        tokio::spawn(watcher.run());
        Self { bucket, node, incarnation: unique(), holdings, _closed: closed.drop_guard() }
    }

    fn begin(&self, name: &str, value: Value, ttl: Duration, token: u64, sent: Sent) -> Lease {
        let name: Arc<str> = name.into();
        let (lease, keeper) = Lease::new(name.clone(), token, valid_until(sent.at, ttl));
        keeper.awake.since(sent.suspended);
        tokio::spawn(Held::new(name, value, ttl, token, sent).keep(self.bucket.clone(), keeper));
        lease
    }
}

#[async_trait]
impl Leases for JetStreamLeases {
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>> {
        check(name, ttl)?;
        self.bucket.ensure().await?;
        for _ in 0..ACQUIRE_TRIES {
            let expected = match self.bucket.read(name).await? {
                Entry::Free { revision } => revision,
                Entry::Held { .. } | Entry::Strange => return Ok(None),
            };
            let attempt = unique();
            let value = Value {
                node: self.node.clone(),
                incarnation: self.incarnation.clone(),
                attempt: attempt.clone(),
                token: None,
            };
            let sent = Sent::now();
            match self.bucket.write(name, expected, &value, ttl, sent.at + REQUEST_TIMEOUT).await {
                Written::At(token) => return Ok(Some(self.begin(name, value, ttl, token, sent))),
                Written::Conflict => {}
                Written::Unknown(error) => match self.bucket.read(name).await? {
                    Entry::Held { revision, value: found } if found.attempt == attempt => {
                        return Ok(Some(self.begin(name, value, ttl, revision, sent)));
                    }
                    // It may still arrive. Then nobody has it until its time to live is over.
                    Entry::Held { .. } | Entry::Free { .. } | Entry::Strange => return Err(error),
                },
            }
        }
        Ok(None)
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        self.holdings.clone()
    }
}
