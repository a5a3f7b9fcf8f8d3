//! Three nodes of the broker and three NATS servers under a steady load while faults are injected from a seed; and the checkers that
//! hold what came of it against what was promised.

pub mod bus;
pub mod check;
pub mod disk;
pub mod door;
pub mod fault;
mod folder;
pub mod ground;
pub mod held;
pub mod inject;
pub mod journal;
pub mod keep;
pub mod load;
pub mod net;
pub mod random;
pub mod report;
pub mod run;
pub mod watcher;
pub mod world;

pub use self::{
    net::{is_apart, run_apart},
    report::Report,
    run::{Lines, Options, run},
};
