//! Ephemeral messaging between nodes: requests with streamed replies, queue groups, publish and subscribe.
//!
//! Two implementations of [`spanwire_model::Backbone`] that pass one contract suite (`tests/tests/suite/backbone.rs`):
//! [`memory`] for a broker of one node and for tests, [`nats`] for a cluster. Both move the same frames: a window bounds
//! what is on the way, progress is merged while the caller is slow, everything else waits.

mod backlog;
mod budget;
mod failure;
mod gauge;
pub mod memory;
pub mod nats;

/// Largest request and largest frame of a reply, in bytes, unless configured otherwise.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Frames of one reply that may be on the way unless configured otherwise.
pub const WINDOW_FRAMES: usize = 64;
