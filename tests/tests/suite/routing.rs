//! Registry and router in one process: nodes over one memory backbone, servers that answer by script. No child process, no socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod apps;
mod bound;
mod calls;
mod comes_back;
mod listen;
mod peers;
mod placed;
mod relay;
mod replicas;
mod script;
mod servers;
mod spans;
mod starting;
mod world;
