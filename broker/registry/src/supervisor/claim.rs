//! When a supervisor may run its server: from its turn on this node to the end of its lease, where it needs one.

use std::time::Duration;

use spanwire_model::Target;
use tokio::{sync::OwnedMutexGuard, time::timeout};

use super::{CLOSE_TIMEOUT, Supervisor};
use crate::{
    owner::Command,
    placement::{Claim, GivenBack},
};

/// Longest that giving a lease back may take. Nothing is lost then but time: it runs out by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Waits until the one before, which this one replaces, has closed its child: bounded by what that may take. `None` when cancelled,
    /// and for what is no child.
    pub(super) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        if !matches!(self.spec.target, Target::Stdio(_)) {
            return None;
        }
        tokio::select! {
            () = self.cancel.cancelled() => None,
            turn = self.turn.clone().lock_owned() => Some(turn),
        }
    }

    /// Cancels the server when its lease is lost.
    pub(super) fn end_with_the_lease(&self) {
        let Some(claim) = &self.claim else { return };
        let (fence, cancel, id) = (claim.lease.fence(), self.cancel.clone(), self.spec.id.clone());
        self.handle.tasks().spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = fence.lost() => {
                    tracing::warn!(server = %id, "its lease is lost: stopped on this node");
                    cancel.cancel();
                }
            }
        });
    }

    pub(super) fn others_may_run_it(&self) -> bool {
        self.claim.is_some() && self.handle.has_others()
    }

    /// Tells the owner that a placed server is over.
    pub(super) async fn ended(&self) {
        if self.claim.is_some() {
            self.handle.tell(Command::Ended { id: self.spec.id.clone(), generation: self.generation }).await;
        }
    }

    /// Lets others have a placed server, once nothing is left of it here. Where that is not sure, they can have it when the lease is over:
    /// by then its guard has killed it.
    pub(super) async fn give_back(mut self, why: GivenBack) {
        self.ended().await;
        if let Some(Claim { lease, back, .. }) = self.claim.take() {
            if self.is_gone().await {
                self.cancel.cancel();
                lease.release(RELEASE_TIMEOUT).await;
            } else {
                tracing::warn!(server = %self.spec.id, "may not have ended: its lease is left to run out");
                self.cancel.cancel();
                lease.lapse();
            }
            let _ = back.send(why);
        }
    }

    /// Waits until nothing is left of the server as it was started before; false when that takes too long.
    pub(super) async fn is_gone(&self) -> bool {
        tokio::select! {
            biased;
            gone = timeout(CLOSE_TIMEOUT, self.connector.gone(&self.spec.id)) => gone.is_ok(),
            () = self.handle.abandoned() => false,
        }
    }
}
