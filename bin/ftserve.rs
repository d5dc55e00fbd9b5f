//! The server program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftserve::cli::serve(std::env::args_os())
}
