//! `bash tests/bench.sh`: what a broker between client and server costs. The measuring is in `spanwire_tests::bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    spanwire_tests::bench::main()
}
