//! The binary `spanwire`: command line, configuration, composition root.

use std::process::ExitCode;

mod cli;
mod client;
mod command;
mod config;
mod demo;
mod failure;
mod import;
mod node;
mod output;
mod suggest;
mod waterfall;

fn main() -> ExitCode {
    // The one TLS stack. A second call would be the error, and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(cli::run())
}
