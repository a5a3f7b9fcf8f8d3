//! Three nodes of the broker and three NATS servers under a steady load while faults are injected from a seed; and the checkers that
//! hold what came of it against what was promised.

pub mod bus;
pub mod check;
mod folder;
pub mod journal;
pub mod random;
