//! One file a command: its arguments, and what it does.

pub(crate) mod add;
pub(crate) mod agents;
pub(crate) mod backup;
pub(crate) mod call;
pub(crate) mod ctx;
pub(crate) mod demo;
pub(crate) mod demo_server;
pub(crate) mod doctor;
pub(crate) mod import;
pub(crate) mod remove;
pub(crate) mod restore;
pub(crate) mod servers;
pub(crate) mod status;
pub(crate) mod stdio;
pub(crate) mod tools;
pub(crate) mod trace;
pub(crate) mod up;
pub(crate) mod validate;
