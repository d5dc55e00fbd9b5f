//! The end by SIGINT and SIGTERM: at once, since nothing half done is ever visible. What was
//! received stays in the partial file, for the next run.

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::exec;
use crate::cli::ExitCode;
use crate::cli::terminal::tell;

/// Starts the thread that ends the process with 130 or 143.
pub(super) fn end_on_signals(quiet: bool) {
    // With this one caught, a write beyond the limit for files is an error and not the end.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGXFSZ]) else {
        // Without the thread the signals end the process by themselves.
        return;
    };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let code = match signal {
                SIGINT => ExitCode::Interrupted,
                SIGTERM => ExitCode::Terminated,
                _ => continue,
            };
            if !quiet {
                tell("\nftget: stopped; the same command goes on where it stopped");
            }
            exec::end_running();
            end(code);
        }
    });
}

#[expect(
    clippy::exit,
    reason = "threads that wait for the network cannot be asked to end"
)]
fn end(code: ExitCode) {
    std::process::exit(code as i32);
}
