//! Makes a peer of any older revision look like 2026-07-28.

pub mod upstream;
