//! The signal dispositions and closed streams that this process was started with, and their
//! restoration in child processes. `unsafe`: the Rust runtime ignores SIGPIPE before `main`, and
//! `rustix` has no sigaction(2). Code between fork and exec is inherently unsafe.
#![allow(unsafe_code)]

use std::mem;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libc::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGXFSZ, c_int};
use rustix::process::{Resource, setrlimit};

use super::descriptors;

/// Whether this signal was ignored at the start of the process. `nohup` ignores SIGHUP, and a
/// script ignores SIGINT and SIGQUIT for a program started with `&`.
pub fn was_ignored(signal: c_int) -> bool {
    IGNORED.load(Ordering::Relaxed) & bit(signal) != 0
}

/// Whether standard output was closed at the start of the process (`>&-`). The Rust runtime
/// replaces it by /dev/null, which would silently discard all output.
pub fn output_was_closed() -> bool {
    IS_OUTPUT_CLOSED.load(Ordering::Relaxed)
}

/// Whether standard input was closed at the start of the process. The runtime makes it empty.
pub fn input_was_closed() -> bool {
    IS_INPUT_CLOSED.load(Ordering::Relaxed)
}

/// Makes a program start with this process's original limit of open files and original ignored
/// signals.
pub(super) fn restore_in(command: &mut Command) {
    if was_ignored(SIGCHLD) {
        // A process that ignores SIGCHLD cannot wait for its children.
        set(SIGCHLD, libc::SIG_DFL);
    }
    let ignored = IGNORED.load(Ordering::Relaxed);
    let limit = descriptors::at_start();
    if limit.is_none() && ignored == 0 {
        return;
    }
    let restore = move || {
        if let Some(limit) = limit {
            // Lowering a limit always succeeds; even without it the program runs.
            let _ = setrlimit(Resource::Nofile, limit);
        }
        for signal in NOTED {
            if ignored & bit(signal) != 0 {
                set(signal, libc::SIG_IGN);
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only; it takes no lock and no memory.
    unsafe { command.pre_exec(restore) };
}

/// Makes a program wait, between fork and exec, until `until` is readable.
#[cfg(test)]
pub(super) fn delay_start(command: &mut Command, until: std::io::PipeReader) {
    let wait = move || {
        let read = rustix::io::read(&until, &mut [0_u8]);
        read.map(drop).map_err(Into::into)
    };
    // SAFETY: the closure makes one system call and takes no memory.
    unsafe { command.pre_exec(wait) };
}

/// Sets the disposition of a signal, unless it is caught.
fn set(signal: c_int, disposition: libc::sighandler_t) {
    let is_caught =
        current(signal).is_some_and(|current| current != libc::SIG_DFL && current != libc::SIG_IGN);
    if is_caught && disposition == libc::SIG_DFL {
        return;
    }
    // SAFETY: both dispositions are constants of the kernel, no function is called.
    unsafe { libc::signal(signal, disposition) };
}

/// The current disposition of a signal.
fn current(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: zeroes are a valid `sigaction`, and without a new action the call only writes the
    // current one into it.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        let outcome = libc::sigaction(signal, ptr::null(), &raw mut action);
        (outcome == 0).then_some(action.sa_sigaction)
    }
}

/// The C library calls it before `main`.
extern "C" fn note() {
    let is_ignored = |signal: &c_int| current(*signal) == Some(libc::SIG_IGN);
    let ignored = NOTED.into_iter().filter(is_ignored).map(bit);
    IGNORED.store(ignored.sum(), Ordering::Relaxed);
    // SAFETY: the call only looks whether there is such a descriptor.
    let is_closed = |stream| unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1;
    IS_INPUT_CLOSED.store(is_closed(libc::STDIN_FILENO), Ordering::Relaxed);
    IS_OUTPUT_CLOSED.store(is_closed(libc::STDOUT_FILENO), Ordering::Relaxed);
}

// SAFETY: the section holds functions of this kind, and this one needs nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

fn bit(signal: c_int) -> u64 {
    1 << signal
}

static IS_INPUT_CLOSED: AtomicBool = AtomicBool::new(false);
static IS_OUTPUT_CLOSED: AtomicBool = AtomicBool::new(false);
static IGNORED: AtomicU64 = AtomicU64::new(0);
/// The signals that this process or its runtime may catch or ignore.
const NOTED: [c_int; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGCHLD, SIGXFSZ];
