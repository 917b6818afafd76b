//! The `burstlet` command: parse, dispatch, and print what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    burstlet::cli::main()
}
