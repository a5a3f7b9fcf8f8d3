//! Servers that say anything in any order, and callers that come and go.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/orders.rs"]
mod reading;
#[path = "../src/server.rs"]
mod server;
#[path = "../src/upstream.rs"]
mod upstream;

fuzz_target!(|data: &[u8]| {
    // Waits take no time: when nothing else can happen, the clock goes on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(upstream::play(data));
});
