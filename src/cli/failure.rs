//! Errors that end a program: the exit code, the line with the reasons, and the hint.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process;

use crate::cli::terminal::{print_line, standard_output};
use crate::cli::{ExitCode, visible};

/// Why `ftserve` does not run.
pub(super) struct Failure {
    pub(super) code: ExitCode,
    pub(super) error: Box<dyn Error>,
    pub(super) hint: Option<&'static str>,
}

impl Failure {
    /// Prints the error with its chain of reasons in one line, and the hint. Returns the exit code.
    pub(super) fn print(&self) -> process::ExitCode {
        let mut text = format!("ftserve: {}", sentence(&*self.error));
        if let Some(hint) = self.hint {
            text += &format!("\nhint: {hint}");
        }
        print_line(&text);
        self.code.into()
    }
}

/// A failure without a hint, from an error or a sentence.
pub(super) fn failure<E: Into<Box<dyn Error>>>(code: ExitCode) -> impl FnOnce(E) -> Failure {
    move |error| Failure {
        code,
        error: error.into(),
        hint: None,
    }
}

/// The failure when this machine cannot start another thread.
pub(super) fn no_thread(error: impl Display) -> Failure {
    failure(ExitCode::LocalFile)(format!("cannot start a thread: {error}"))
}

/// An error with its chain of reasons in one line, escaped for a terminal.
pub(super) fn sentence(error: &dyn Error) -> String {
    visible(error_chain(error).as_bytes()).into_owned()
}

/// An error with its chain of reasons, not escaped.
pub(super) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text += &format!(": {reason}");
        source = reason.source();
    }
    text
}

/// Flushes standard output after a write with this result, and returns the exit code.
pub(super) fn finish_output(program: &str, written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| standard_output().flush()) {
        Ok(()) => ExitCode::Success,
        Err(error) => report_unwritable(program, &error),
    }
}

/// Prints that standard output cannot be written, and returns the exit code. A reader that ended
/// early, such as a pager, is not a failure: nothing is printed.
pub(super) fn report_unwritable(program: &str, error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::Success;
    }
    print_line(&format!(
        "{program}: cannot write to standard output: {error}"
    ));
    write_error_code(error)
}

/// The exit code if a local file or standard output cannot be written.
pub(super) fn write_error_code(error: &io::Error) -> ExitCode {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ExitCode::NoSpace
        }
        _ => ExitCode::LocalFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer \u{1b}[2J")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_full_disk_has_its_own_exit_code() {
        use rustix::io::Errno;
        for (errno, code) in [
            (Errno::NOSPC, ExitCode::NoSpace),
            (Errno::DQUOT, ExitCode::NoSpace),
            (Errno::FBIG, ExitCode::NoSpace),
            (Errno::IO, ExitCode::LocalFile),
            (Errno::PIPE, ExitCode::LocalFile),
        ] {
            assert_eq!(write_error_code(&errno.into()), code, "{errno}");
        }
    }

    #[test]
    fn a_sentence_has_every_reason_and_is_escaped() {
        let error = Outer(io::Error::other("in\nner"));
        assert_eq!(sentence(&error), r"outer \x1b[2J: in\nner");
    }
}
