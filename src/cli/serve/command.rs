//! The command that a server serves for.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGINT;

use crate::cli::ExitCode;

/// A running command.
pub(super) struct Command(process::Child);

impl Command {
    /// Starts it, with the server's address in its environment.
    pub(super) fn start(words: &[OsString], address: &str) -> io::Result<Command> {
        let mut command = process::Command::new(&words[0]);
        command.args(&words[1..]).env("FTSERVE_ADDR", address);
        Ok(Command(command.spawn()?))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end; its exit code, or 128 and the signal that ended it, as shells
    /// say it.
    pub(super) fn wait(mut self) -> u8 {
        let Ok(status) = self.0.wait() else { return 1 };
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        u8::try_from(code).unwrap_or(1)
    }
}

/// As shells say that a command cannot be run: 127 if it is not there, 126 otherwise.
pub(super) fn code_of_failure(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::CommandNotFound,
        _ => ExitCode::CommandNotRun,
    }
}

/// Passes a signal on to the command.
pub(super) fn pass_on(pid: u32, signal: i32) {
    // A terminal sends SIGINT to the command itself; twice would mean more than once.
    if signal == SIGINT && io::stdin().is_terminal() {
        return;
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // It may have ended on its own.
        let _ = kill_process(pid, signal);
    }
}
