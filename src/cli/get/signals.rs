//! The end by SIGINT and SIGTERM: at once, since nothing half done is ever visible. What was
//! received stays in the partial file, for the next run.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Builder;

use crossbeam_channel::bounded;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::exec;
use crate::cli::ExitCode;
use crate::cli::terminal::tell_if_read;

/// Starts the thread that ends the process with 130 or 143.
pub(super) fn end_on_signals(quiet: bool) {
    // With this one caught, a write beyond the limit for files is an error and not the end.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let (caught_in, caught) = bounded::<Signals>(1);
    let named = Builder::new().name("ft-signals".to_owned());
    let started = named.spawn(move || {
        for mut signals in caught {
            for signal in signals.forever() {
                if !quiet {
                    tell_if_read("\nftget: stopped; the same command goes on where it stopped");
                }
                exec::end_running();
                end(match signal {
                    SIGINT => ExitCode::Interrupted,
                    _ => ExitCode::Terminated,
                });
            }
        }
    });
    // Without the thread the signals end the process by themselves.
    if started.is_ok()
        && let Ok(signals) = Signals::new([SIGINT, SIGTERM])
    {
        let _ = caught_in.send(signals);
    }
}

/// Ends the process.
#[expect(
    clippy::exit,
    reason = "threads that wait for the network cannot be asked to end"
)]
pub(super) fn end(code: ExitCode) {
    std::process::exit(code as i32);
}
