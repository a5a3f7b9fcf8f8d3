//! The shared context, through every door: the same list on one node and on two that share a JetStream.
//!
//! What is written goes to the first node and is read on the last one, which is the same one where there is only one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod access;
mod command_line;
mod cut_off;
mod hand;
mod hidden;
mod keys;
mod mcp;
mod quotas;
mod restart;
mod schemas;
mod streams;
mod tracing;
mod updates;
mod world;

/// Each of these on one node and on two.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident => $list:path, $fragment:expr;)*) => {
        mod alone {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread")] async fn $name() {
                let mut world = super::world::World::alone($fragment).await;
                $list(&mut world).await;
            })*
        }
        mod cluster {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread")] async fn $name() {
                let mut world = super::world::World::cluster($fragment).await;
                $list(&mut world).await;
            })*
        }
    };
}

on_both! {
    keys_and_writes => super::keys::check, "";
    logs_watches_and_snapshots => super::streams::check, "";
    quotas_refuse => super::quotas::check, super::quotas::FRAGMENT;
    mcp_clients_of_any_era => super::mcp::check, "";
    the_command_line => super::command_line::check, "";
    a_restart_keeps_it => super::restart::check, "";
    one_trace_of_a_write => super::tracing::check, "";
}
