//! All end-to-end tests in one binary: one link, one harness (`spanwire_tests`).

mod agents;
mod backbone;
mod cli;
mod conformance;
mod context;
mod edge;
mod faults;
mod federation;
mod layers;
mod leases;
mod matrix;
mod nats;
mod placement;
mod routing;
mod tracing;
mod upstream;
