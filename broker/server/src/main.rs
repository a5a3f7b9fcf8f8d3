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
mod raw;
mod suggest;
mod waterfall;

fn main() -> ExitCode {
    // The guard of a child process comes before everything else: it must be small and start fast.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == spanwire_stdio::guard::SUBCOMMAND) {
        return spanwire_stdio::guard::run(args);
    }
    // The one TLS stack. A second call would be the error, and there is none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(cli::run())
}
