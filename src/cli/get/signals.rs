//! The end by SIGINT, SIGTERM and SIGHUP: at once, since nothing half done is ever visible. What was
//! received stays in the partial file, for the next run.

use std::thread::Builder;

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::exec;
use crate::cli::ending::{EndOnPanic, LAST_LINE_TIMEOUT, end_by, survive_file_size_limit, within};
use crate::cli::terminal::tell_if_read;
use crate::process::was_ignored;

/// Starts the thread that ends the process by the signal that it gets. A signal that was ignored
/// at the start stays so.
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
                        tell_if_read("\nftget: stopped; the same command goes on where it stopped");
                    });
                }
                exec::end_running();
                end_by(signal);
            }
        }
    });
    // Without the thread the signals end the process by themselves.
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
