//! The binary `spanwire`.
mod config;
mod import;
mod suggest;
fn main() {}
