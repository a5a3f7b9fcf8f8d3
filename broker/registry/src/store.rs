//! What the registry keeps in the store of its node, and a store that forgets.

pub(crate) mod books;
mod memory;

pub use self::memory::MemoryStore;

#[cfg(test)]
mod tests;
