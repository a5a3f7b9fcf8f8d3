//! The binary `spanwire`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == spanwire_stdio::guard::SUBCOMMAND) {
        return spanwire_stdio::guard::run(args);
    }
    ExitCode::SUCCESS
}
