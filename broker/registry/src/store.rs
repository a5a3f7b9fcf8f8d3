//! The durable state of a node, behind [`spanwire_model::Store`].
//!
//! The store lives here because the registry is the first room with durable state; it moves to the ledger's room when that opens. Nothing
//! else in the tree names sled (broker/decisions/0002).

pub(crate) mod books;
mod memory;
mod sled;

pub use self::{memory::MemoryStore, sled::SledStore};

#[cfg(test)]
mod tests;
