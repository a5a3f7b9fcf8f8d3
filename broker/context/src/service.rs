//! The shared context of one node.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use spanwire_model::{Author, Book, Error, ErrorKind, Ledger, NodeId, Result, Shard, ShardStatus, StoreError, View};
use spanwire_telemetry::Telemetry;

use crate::{Access, AllowAll, OnBehalf, Quotas, Reading, Seen, SpaceName};

/// What a node says about its shared context.
#[derive(Clone)]
pub struct Config {
    /// The node.
    pub node: NodeId,
    /// What its writers may fill. Other nodes may say otherwise; each write goes by the limits of the node that it came through.
    pub quotas: Quotas,
    /// Who may do what.
    pub access: Arc<dyn Access>,
}

impl Config {
    /// The default limits, and everybody may do everything.
    pub fn new(node: NodeId) -> Self {
        Self { node, quotas: Quotas::default(), access: Arc::new(AllowAll) }
    }
}

/// The shared context of one node: a cheap handle.
#[derive(Clone)]
pub struct Contexts {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) config: Config,
    pub(crate) telemetry: Telemetry,
}

impl Contexts {
    /// The shared context on a ledger whose machine for [`Book::Context`] is [`crate::ContextMachine`].
    pub fn new(ledger: Arc<dyn Ledger>, mut config: Config, telemetry: Telemetry) -> Self {
        config.quotas = config.quotas.capped();
        Self { inner: Arc::new(Inner { ledger, config, telemetry }) }
    }

    /// The context as a principal sees it. The author's node is this one's, whatever it says.
    pub fn on_behalf(&self, author: Author) -> OnBehalf {
        OnBehalf::new(self.clone(), Author { node: self.inner.config.node.clone(), ..author })
    }

    /// What writers may fill through this node.
    pub fn quotas(&self) -> &Quotas {
        &self.inner.config.quotas
    }

    /// The node.
    pub fn node(&self) -> &NodeId {
        &self.inner.config.node
    }

    /// In which shard a space is, on every node and for ever.
    pub fn shard_of(space: &SpaceName) -> Shard {
        let digest = Sha256::digest(space.as_str().as_bytes());
        let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below a u16")]
        let number = (number % u64::from(Book::Context.shards())) as u16;
        Shard { book: Book::Context, number }
    }

    /// All shards of the context.
    pub(crate) fn shards() -> impl Iterator<Item = Shard> {
        (0..Book::Context.shards()).map(|number| Shard { book: Book::Context, number })
    }

    /// Reads a shard's view once it is as current as wanted.
    pub(crate) async fn read<T: Send>(
        &self,
        shard: Shard,
        reading: Reading,
        mut read: impl FnMut(&dyn View) -> Result<T, StoreError> + Send,
    ) -> Result<Seen<T>> {
        let ledger = &self.inner.ledger;
        ledger.reach(shard, reading.level, reading.deadline).await?;
        let mut seen = None;
        ledger.read(shard, &mut |view, sequence| {
            seen = Some((read(view).map_err(unreadable)?, sequence));
            Ok(())
        })?;
        let (value, sequence) = seen.ok_or_else(|| Error::new(ErrorKind::Internal, "the view was not read"))?;
        Ok(Seen { value, sequence, stale_ms: self.stale_ms(shard) })
    }

    fn stale_ms(&self, shard: Shard) -> Option<u64> {
        let stale = self.status(shard)?.stale?;
        Some(u64::try_from(stale.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn status(&self, shard: Shard) -> Option<ShardStatus> {
        self.inner.ledger.status().into_iter().find(|status| status.shard == shard)
    }
}

/// The view failed, or holds what is not of its layout.
pub(crate) fn unreadable(error: StoreError) -> Error {
    Error::new(ErrorKind::Internal, "the view of the context cannot be read").with_private(error)
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contexts").field("node", &self.inner.config.node).finish_non_exhaustive()
    }
}
