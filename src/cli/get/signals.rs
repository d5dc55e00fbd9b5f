//! SIGINT, SIGTERM and SIGHUP end the program at once: nothing unverified is ever visible. Received
//! bytes stay in the partial file for the next run.

use std::thread::Builder;

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exec;
use crate::cli::ending::{EndOnPanic, LAST_LINE_TIMEOUT, end_by, survive_file_size_limit, within};
use crate::cli::terminal::print_line_if_ready;
use crate::process::was_ignored;

/// Starts the thread that ends the process on a signal. A signal that was ignored at the start
/// stays ignored.
pub(super) fn end_on_signals(quiet: bool) {
    survive_file_size_limit();
    let (caught_in, caught) = bounded::<Signals>(1);
    let named = Builder::new().name("ft-signals".to_owned());
    let started = named.spawn(move || {
        let _guard = EndOnPanic;
        for mut signals in caught {
            if let Some(signal) = signals.forever().next() {
                if !quiet {
                    within(LAST_LINE_TIMEOUT, || {
                        print_line_if_ready(
                            "\nftget: stopped; the same command continues where it stopped",
                        );
                    });
                }
                exec::end_running();
                end_by(signal);
            }
        }
    });
    // If the thread cannot start, the signals have their default effect.
    if started.is_ok()
        && let Ok(signals) = Signals::new(
            [SIGINT, SIGTERM, SIGHUP]
                .iter()
                .filter(|signal| !was_ignored(**signal)),
        )
    {
        let _ = caught_in.send(signals);
    }
}
