//! `--exec`: a command on each verified file.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the words with the file as the last one, and waits for the end: its exit code, or 128 and
/// the signal that ended it. Its input is empty; with `quiet_output` its output goes to standard
/// error, since ours is for programs.
///
/// # Errors
/// It cannot be started.
pub(super) fn run(words: &[String], file: &Path, quiet_output: bool) -> std::io::Result<i32> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(file).stdin(Stdio::null());
    if quiet_output {
        command.stdout(std::io::stderr().as_fd().try_clone_to_owned()?);
    }
    let status = command.status()?;
    Ok(status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
