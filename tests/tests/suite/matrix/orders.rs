//! The orders of messages that `adapters/era/fuzz` plays, from seeds: what the fuzzer looks for at length, a little of it always.

use std::thread;

#[path = "../../../../adapters/era/fuzz/src/orders.rs"]
mod reading;
#[path = "../../../../adapters/era/fuzz/src/server.rs"]
mod server;
#[path = "../../../../adapters/era/fuzz/src/session.rs"]
mod session;
#[path = "../../../../adapters/era/fuzz/src/upstream.rs"]
mod upstream;

/// Orders that are played.
const PLAYS: u64 = 240;
/// Messages of one, at most, in bytes.
const LONGEST: u64 = 160;
/// Threads that play.
const THREADS: u64 = 4;

/// Bytes from a seed (splitmix64).
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let length = 8 + next() % LONGEST;
    (0..length).map(|_| next().to_le_bytes()[0]).collect()
}

/// Orders for the sessions, which take no time.
const SESSION_PLAYS: u64 = 4000;

#[test]
fn any_order_of_answers_is_survived() {
    for seed in 0..SESSION_PLAYS {
        let played = std::panic::catch_unwind(|| session::play(&bytes(seed)));
        assert!(played.is_ok(), "the order of seed {seed} is not survived: {:?}", bytes(seed));
    }
}

#[test]
fn any_order_of_messages_is_survived() {
    let players = (0..THREADS).map(|thread| {
        thread::spawn(move || {
            for seed in (thread..PLAYS).step_by(usize::try_from(THREADS).unwrap()) {
                let played = std::panic::catch_unwind(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                    runtime.block_on(upstream::play(&bytes(seed)));
                });
                assert!(played.is_ok(), "the order of seed {seed} is not survived: {:?}", bytes(seed));
            }
        })
    });
    let players: Vec<_> = players.collect();
    for player in players {
        player.join().unwrap();
    }
}
