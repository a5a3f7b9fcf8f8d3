//! The laws of [`spanwire_model::Ledger`], one test each, over any ledger: `contract!` makes the tests for a factory of ledgers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod laws;
mod random;
mod reads;

use std::{sync::Arc, time::Duration};

use spanwire_model::{Command, ErrorKind, Ledger, Receipt, Result, Shard, ShardState, ShardStatus, View};
use spanwire_telemetry::Telemetry;
use tokio::time::Instant;

pub(crate) use self::{laws::*, random::*, reads::*};

/// Entries within which the ledgers under test know an operation.
pub(crate) const OPERATIONS: u64 = 40;

/// Longest that anything here may take: machines are slow at times.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes ledgers of [`crate::testing::TestMachine`] for one test, in places of its own that go away with it.
pub(crate) trait Factory: Sized {
    /// What is under test.
    type Ledger: Ledger;

    /// How many random histories are tried.
    const CASES: u32;

    /// Another place, with nothing in it.
    async fn make() -> Self;

    /// Opens the ledger of this place, again and again, with a machine of this version. Operations are known for [`OPERATIONS`] entries.
    /// Waits until an earlier one has let go, but not until this one has caught up.
    async fn open(&self, version: u16) -> Self::Ledger;

    /// Where its spans and metrics go.
    fn telemetry(&self) -> &Telemetry;
}

/// One test for each law.
macro_rules! contract {
    ($factory:ty) => {
        $crate::contract::contract!($factory:
            one_order_for_all, an_operation_is_applied_once, an_operation_is_its_first_command, an_operation_is_forgotten_in_time, conditions_hold_when_applied,
            a_refusal_changes_nothing, a_restart_loses_nothing, what_is_too_large_is_refused, a_newer_command_stops_the_shard,
            a_deadline_leaves_no_doubt, a_caller_that_went_away_leaves_no_doubt, shards_do_not_meet, an_append_is_a_span,
            large_values_come_back, reads_are_as_current_as_asked, readers_see_whole_entries, watchers_are_told,
            any_history_is_kept
        );
    };
    ($factory:ty: $($law:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $law() {
                $crate::contract::$law::<$factory>().await;
            }
        )*
    };
}
pub(crate) use contract;

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Appends as soon as the shard takes writes.
pub(crate) async fn append(ledger: &impl Ledger, command: Command) -> Receipt {
    append_to(ledger, Shard::REGISTRY, command).await.unwrap()
}

pub(crate) async fn append_to(ledger: &impl Ledger, shard: Shard, command: Command) -> Result<Receipt> {
    following(ledger, shard).await;
    ledger.append(shard, command, soon()).await
}

/// Waits until the shard is in a state other than catching up.
pub(crate) async fn settled(ledger: &impl Ledger, shard: Shard) -> ShardStatus {
    until(|| {
        let status = status(ledger, shard);
        (status.state != ShardState::CatchingUp).then_some(status)
    })
    .await
}

pub(crate) async fn following(ledger: &impl Ledger, shard: Shard) -> ShardStatus {
    until(|| Some(status(ledger, shard)).filter(|status| status.state == ShardState::Following)).await
}

pub(crate) fn status(ledger: &impl Ledger, shard: Shard) -> ShardStatus {
    ledger.status().into_iter().find(|status| status.shard == shard).unwrap()
}

/// Asks again and again, for as long as patience lasts.
pub(crate) async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = soon();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a closure makes of the view, with the sequence that it is of.
pub(crate) fn look<T>(ledger: &impl Ledger, shard: Shard, mut read: impl FnMut(&dyn View) -> T + Send) -> (T, u64)
where
    T: Send,
{
    let mut found = None;
    let mut read = |view: &dyn View, sequence| {
        found = Some((read(view), sequence));
        Ok(())
    };
    ledger.read(shard, &mut read).unwrap();
    found.unwrap()
}

/// The value of a key, as text.
pub(crate) fn value(ledger: &impl Ledger, key: &str) -> Option<String> {
    look(ledger, Shard::REGISTRY, |view| view.get(key.as_bytes()).unwrap())
        .0
        .map(|value| String::from_utf8(value).unwrap())
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind
}

/// The number that a command was answered with.
pub(crate) fn number(receipt: &Receipt) -> u64 {
    receipt.outcome.as_ref().unwrap().read().unwrap()
}

/// Runs so many at once.
pub(crate) async fn at_once<T, F>(count: u64, run: impl Fn(u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|index| tokio::spawn(run(index))).collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

/// A ledger that tasks share.
pub(crate) async fn shared<F: Factory>(place: &F) -> Arc<F::Ledger> {
    let ledger = Arc::new(place.open(1).await);
    following(&*ledger, Shard::REGISTRY).await;
    ledger
}
