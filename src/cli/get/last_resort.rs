//! What `--max-time` does about those who hold everything up: a list that nobody writes, or an
//! output that nobody reads. All else sees to its time by itself, and ends in order.

use std::thread;
use std::time::Duration;

use super::exec;
use crate::cli::ExitCode;
use crate::cli::ending::{LAST_LINE_TIMEOUT, exit, within};
use crate::cli::outside::Snapshot;
use crate::cli::terminal::tell_if_read;

/// Starts the thread that ends the process with 14 where it waits for somebody else, and for
/// nothing else, when time is over and [`GRACE`] too. Files are then as they are after a signal.
pub(super) fn end_in_time(time_max: Duration) {
    let waits = move || {
        thread::sleep(time_max);
        loop {
            let snapshot = Snapshot::take();
            thread::sleep(GRACE);
            if let Some(reason) = snapshot.held_up() {
                within(LAST_LINE_TIMEOUT, move || {
                    tell_if_read(&format!(
                        "ftget: not finished within the time for everything: {reason}"
                    ));
                });
                exec::end_running();
                exit(ExitCode::TimedOut as i32);
            }
        }
    };
    // Without the thread it is as it is without a limit.
    drop(
        thread::Builder::new()
            .name("ft-time".to_owned())
            .spawn(waits),
    );
}

/// As long as somebody else may hold up the end when time is over.
const GRACE: Duration = Duration::from_secs(1);
