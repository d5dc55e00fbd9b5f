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
    /// Ends the process by its signal; gives its exit code.
    pub(super) fn take(self) -> std::process::ExitCode {
        match self {
            End::Code(code) => code.into(),
            End::Signal(signal) => end_by(signal),
        }
    }
}

/// Ends the process by a signal. Its parent sees that, where an exit code would hide it: a shell's
/// loop ends with Ctrl-C, and for a service manager an end by SIGTERM is no failure.
pub(super) fn end_by(signal: i32) -> ! {
    // The kernel lets no signal of its own end process 1, whose parent sees an exit code only.
    if !getpid().is_init() {
        // If another program ended so, its memory is of interest, and not that of this one.
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, none);
        let _ = emulate_default_handler(signal);
    }
    exit(128 + signal)
}

/// Makes a write beyond the limit for the size of files an error and not the end of the process.
/// Programs that it starts get the signal back as it was.
pub(super) fn survive_file_size_limit() {
    if !was_ignored(SIGXFSZ) {
        // Without it the signal ends the process, as it always did.
        let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }
}

/// Ends the process at once, with what its threads do.
#[expect(
    clippy::exit,
    reason = "threads that wait for the network cannot be asked to end"
)]
pub(super) fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Does something in a thread of its own, which is waited for only so long: nothing that may be
/// held up holds up the end.
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

/// Held by a thread without which signals would be caught and not acted on: a panic there ends
/// the process.
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
