//! Makes a peer of any older revision look like 2026-07-28, on either side of the broker.

pub mod session;
pub mod tasks;
pub mod upstream;
