//! The command of `ftserve PATH -- COMMAND`.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use signal_hook::consts::SIGINT;

use crate::cli::ExitCode;
use crate::cli::ending::End;
use crate::cli::serve::publish;
use crate::process::{Child, signal_child};

/// The running command.
pub(super) struct ChildCommand(Child);

impl ChildCommand {
    /// Starts the command, with the address of the server in its environment.
    pub(super) fn start(words: &[OsString], address: &str) -> io::Result<ChildCommand> {
        let mut command = process::Command::new(&words[0]);
        command.args(&words[1..]).env("FTSERVE_ADDR", address);
        Ok(ChildCommand(Child::start(&mut command)?))
    }

    /// The error that a start would return, without a start.
    pub(super) fn check(words: &[OsString]) -> io::Result<()> {
        match publish::find(&words[0]) {
            Ok(_) => Ok(()),
            Err((publish::NO_PROGRAM, _)) => Err(Errno::NOENT.into()),
            Err(_) => Err(Errno::ACCESS.into()),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.0.pid()
    }

    /// Waits for the command to end. The server ends in the same way.
    pub(super) fn wait(mut self) -> End {
        let Ok(status) = self.0.wait() else {
            return End::Code(1);
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Code(u8::try_from(code).unwrap_or(1)),
            (None, Some(signal)) => End::Signal(signal),
            (None, None) => End::Code(1),
        }
    }
}

/// The exit codes of shells: 127 if the command does not exist, otherwise 126.
pub(super) fn code_of_failure(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::NotFound => ExitCode::CommandNotFound,
        _ => ExitCode::CommandNotRun,
    }
}

/// Forwards a signal to the command.
pub(super) fn pass_on(pid: Pid, signal: i32) {
    // A terminal sends SIGINT to the command too, and a second one has another meaning.
    if signal == SIGINT && io::stdin().is_terminal() {
        return;
    }
    if let Some(signal) = Signal::from_named_raw(signal) {
        signal_child(pid, signal);
    }
}
