//! The server edge: whatever a server speaks, it looks like 2026-07-28 from here.
//!
//! A transport implements [`Wire`]: it carries requests and brings back events, and knows nothing of eras but what its
//! own framing needs. [`connect`] finds out the era over a wire, shakes hands, and returns a [`spanwire_model::Upstream`]
//! that translates.
//!
//! What a caller sees, whatever the server is:
//! - results of a legacy server begin with [`COMPLETE_PREFIX`]; lists also get `ttlMs` and `cacheScope`;
//! - progress carries the caller's own token, and comes only if it gave one;
//! - notifications of `subscriptions/listen` carry **no** subscription id: the client edge puts its own there;
//! - errors of the server keep their code, -32002 of a legacy server too: the client edge maps it;
//! - what a legacy server asks in the middle of a call ends the call with `input_required`, and the retry goes on with it.

mod again;
mod attribution;
mod calls;
mod connect;
mod declared;
mod desk;
mod incoming;
mod interactive;
mod legacy;
mod level;
mod line;
mod listeners;
mod modern;
mod notices;
mod outgoing;
mod parked;
mod pump;
mod questions;
mod requests;
mod shared;
mod table;
mod tasks;
mod wire;

pub use calls::{Calls, Inbox};
pub use connect::{Settings, Timeouts, Waits, connect};
pub use incoming::COMPLETE_PREFIX;
pub use wire::{Discovery, Unasked, Wire, WireRequest, judge};

#[cfg(test)]
mod tests;
