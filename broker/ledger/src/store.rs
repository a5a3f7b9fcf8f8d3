//! The files of a node: one sled database for its own small state, behind [`spanwire_model::Store`], and for the ledger's views and logs.

mod sled;

pub(crate) use self::sled::{Done, Tree};
pub use self::sled::{Durability, SledStore};

#[cfg(test)]
mod tests;
