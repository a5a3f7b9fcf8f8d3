//! The contract of `spanwire_model::Backbone`: one suite, run on both implementations, and what only NATS can suffer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod events;
mod failures;
mod fixture;
mod flow;
mod handlers;
mod nats_only;
mod requests;
mod sizes;

/// Runs one law on both implementations.
macro_rules! contract {
    ($($module:ident: $($law:ident),+;)+) => {
        mod memory {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let fixture = super::fixture::Fixture::memory();
                super::fixture::within(super::$module::$law(&fixture)).await;
                fixture.is_idle().await;
            })+)+
        }
        mod nats {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let fixture = super::fixture::Fixture::nats().await;
                super::fixture::within(super::$module::$law(&fixture)).await;
                fixture.is_idle().await;
            })+)+
        }
    };
}

contract! {
    requests:
        a_reply_is_complete_and_in_order,
        a_request_arrives_whole,
        one_of_the_replicas_gets_each_request,
        a_node_is_reached_by_its_address,
        a_node_is_served_once,
        nobody_is_known_at_once,
        tenants_do_not_see_each_other,
        a_dropped_guard_stops_serving,
        many_calls_at_once;
    flow:
        progress_is_merged_while_the_caller_is_slow,
        a_slow_caller_slows_the_handler_down,
        every_message_arrives_however_slow_the_caller,
        nothing_happens_before_the_first_poll,
        a_reply_dropped_before_its_first_frame_cancels,
        a_reply_dropped_after_its_first_frame_cancels,
        the_budget_ends_a_call,
        a_budget_may_be_without_measure;
    sizes:
        five_mebibytes_both_ways,
        eight_mebibytes_both_ways,
        large_frames_in_the_middle_of_a_reply,
        many_large_frames_to_a_slow_caller,
        a_request_above_the_limit_is_refused,
        a_reply_above_the_limit_is_an_error;
    failures:
        a_handler_that_panics_is_an_error,
        a_handler_that_ends_without_a_response_is_an_error,
        closing_the_serving_node_loses_its_streams,
        closing_the_calling_node_drops_the_handlers_stream,
        a_closed_node_calls_nobody;
    events:
        publications_arrive_in_order,
        other_kinds_and_tenants_are_not_heard,
        a_slow_subscriber_is_told_of_a_gap,
        a_publication_above_the_limit_is_refused,
        odd_topics_arrive_whole;
}
