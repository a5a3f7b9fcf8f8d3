//! Every feature in every cell: client of either era, server of either era, over either transport, on one node and on two.
//!
//! The peers are [scripted](spanwire_tests::scripted): what each of them heard is compared with what it must have heard, value by
//! value, but for what is random, of which the form is. Each feature runs with two clients at once, who must see nothing of each
//! other. A feature is a function over a [`world::World`]; [`runner`] puts it into all cells; [`waiting`] names what does not work yet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod calls;
mod cell;
mod compare;
mod rig;
mod runner;
mod waiting;
mod world;

#[tokio::test(flavor = "multi_thread")]
async fn calls() {
    runner::run(calls::FEATURES).await;
}
