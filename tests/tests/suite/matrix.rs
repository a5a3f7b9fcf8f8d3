//! Every feature in every cell: client of either era, server of either era, over either transport, on one node and on two.
//!
//! The peers are [scripted](spanwire_tests::scripted): what each of them heard is compared with what it must have heard, value by
//! value, but for what is random, of which the form is. Each feature runs with two clients at once, who must see nothing of each
//! other. A feature is a function over a [`world::World`]; [`runner`] puts it into all cells; [`waiting`] names what does not work yet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod calls;
mod cell;
mod compare;
mod eras;
mod input;
mod lists;
mod notices;
mod orders;
mod rig;
mod runner;
mod state;
mod tasks;
mod waiting;
mod world;

#[tokio::test(flavor = "multi_thread")]
async fn calls() {
    runner::run(calls::FEATURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists() {
    runner::run(lists::FEATURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notices() {
    runner::run(notices::FEATURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input() {
    runner::run(input::FEATURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state() {
    runner::run(state::FEATURES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parting() {
    runner::run(state::PARTING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks() {
    runner::run(tasks::FEATURES).await;
}
