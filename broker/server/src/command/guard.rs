//! `spanwire guard`: started by a node beside its children, never by people.

use std::ffi::OsString;

use crate::failure::Failure;

/// Arguments of `spanwire guard`: what the stdio adapter passes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As the stdio adapter writes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// The one call site of the guard.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    Err(Failure::failed(format!("the guard is not merged yet ({} arguments)", args.rest.len())))
}
