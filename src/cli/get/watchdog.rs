//! The watchdog of `--max-time`: ends the program if another program blocks it, by not writing a
//! list or not reading an output. Everything else keeps its time limit by itself, and ends in
//! order.

use std::thread;
use std::time::Duration;

use super::exec;
use crate::cli::ExitCode;
use crate::cli::blocking::Snapshot;
use crate::cli::ending::{LAST_LINE_TIMEOUT, exit, within};
use crate::cli::terminal::print_line_if_ready;

/// Starts the watchdog thread. It ends the process with 14 if a call on another program still
/// blocks [`GRACE`] after the time limit. Files are then in the state that a signal would leave.
pub(super) fn start(time_max: Duration) {
    let waits = move || {
        thread::sleep(time_max);
        loop {
            let snapshot = Snapshot::take();
            thread::sleep(GRACE);
            if let Some(reason) = snapshot.held_up() {
                within(LAST_LINE_TIMEOUT, move || {
                    print_line_if_ready(&format!(
                        "ftget: not finished within the time limit: {reason}"
                    ));
                });
                exec::end_running();
                exit(ExitCode::TimedOut as i32);
            }
        }
    };
    // If the thread cannot start, a blocked call has no limit.
    drop(
        thread::Builder::new()
            .name("ft-time".to_owned())
            .spawn(waits),
    );
}

/// How long a call may stay blocked after the time limit.
const GRACE: Duration = Duration::from_secs(1);
