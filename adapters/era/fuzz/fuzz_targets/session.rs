//! Clients that answer anything in any order, in two sessions.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/orders.rs"]
mod reading;
#[path = "../src/session.rs"]
mod session;

fuzz_target!(|data: &[u8]| session::play(data));
