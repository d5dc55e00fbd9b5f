//! The download program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ftserve::cli::get(std::env::args_os()).into()
}
