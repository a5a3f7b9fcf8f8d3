//! The contract of `spanwire_model::Leases`: one suite, run on both implementations, and what only JetStream can suffer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod jetstream_only;
mod laws;

/// Runs one law on both implementations.
macro_rules! contract {
    ($($law:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let fixture = super::fixture::Fixture::memory();
                super::fixture::within(super::laws::$law(&fixture)).await;
            })+
        }
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let fixture = super::fixture::Fixture::jetstream().await;
                super::fixture::within(super::laws::$law(&fixture)).await;
            })+
        }
    };
}

contract! {
    one_has_it_until_it_is_given_back,
    a_dropped_lease_is_given_back,
    a_lease_given_back_is_not_valid,
    a_lease_that_is_left_to_run_out_is_nobodys_until_its_time_is_over,
    of_many_takers_one_wins,
    tokens_grow,
    names_do_not_touch_each_other,
    everybody_sees_who_has_what,
    nonsense_is_refused,
}
