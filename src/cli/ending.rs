//! How a program ends: with an exit code, or by a signal.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Builder;
use std::time::Duration;

use crossbeam_channel::bounded;
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

use crate::cli::ExitCode;
use crate::process::was_ignored;

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Code(u8),
    Signal(i32),
}

impl End {
    /// Returns the exit code, or ends the process by the signal.
    pub(super) fn take(self) -> std::process::ExitCode {
        match self {
            End::Code(code) => code.into(),
            End::Signal(signal) => end_by(signal),
        }
    }
}

/// Ends the process by a signal, so that its parent sees the signal. An exit code would hide it: a
/// shell loop ends with Ctrl-C, and a service manager takes an end by SIGTERM for a clean one.
pub(super) fn end_by(signal: i32) -> ! {
    // The kernel does not let process 1 end by its own signal. Its parent sees only an exit code.
    if !getpid().is_init() {
        // No core dump for a signal that another program sent.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
        let _ = emulate_default_handler(signal);
    }
    exit(128 + signal)
}

/// Turns a write beyond the file size limit (SIGXFSZ) into an error. Child processes get the signal
/// back as it was.
pub(super) fn survive_file_size_limit() {
    if !was_ignored(SIGXFSZ) {
        // If the handler cannot be installed, the signal ends the process, which is its default.
        let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }
}

/// Ends the process at once, with all its threads.
#[expect(
    clippy::exit,
    reason = "threads that wait for the network cannot be asked to end"
)]
pub(super) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Runs `act` in a thread and waits for it at most `limit`, so that a blocked call cannot delay the
/// end.
pub(super) fn within(limit: Duration, act: impl FnOnce() + Send + 'static) {
    let (acting, has_acted) = bounded::<Infallible>(0);
    let act = move || {
        act();
        drop(acting);
    };
    if Builder::new().name("ft-end".to_owned()).spawn(act).is_ok() {
        let _ = has_acted.recv_timeout(limit);
    }
}

/// Ends the process if its thread panics. Without that thread, signals would be caught and never
/// handled.
pub(super) struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            exit(ExitCode::Unclassified as i32);
        }
    }
}

/// How long the last line of a program that ends at once may take.
pub(super) const LAST_LINE_TIMEOUT: Duration = Duration::from_millis(500);
