//! Why `ftserve` does not run: an exit code, the reasons in one line, and what may help.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process;

use crate::cli::terminal::{standard_output, tell};
use crate::cli::{ExitCode, visible};

/// Why it does not run.
pub(super) struct Failure {
    pub(super) code: ExitCode,
    pub(super) error: Box<dyn Error>,
    pub(super) hint: Option<&'static str>,
}

impl Failure {
    /// Says so in one line with the whole chain of reasons, and a hint where there is one.
    pub(super) fn complain(&self) -> process::ExitCode {
        let mut text = format!("ftserve: {}", sentence(&*self.error));
        if let Some(hint) = self.hint {
            text += &format!("\nhint: {hint}");
        }
        tell(&text);
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

/// This machine starts no thread more.
pub(super) fn no_thread(error: impl Display) -> Failure {
    failure(ExitCode::LocalFile)(format!("cannot start a thread: {error}"))
}

/// An error and its reasons in one line that is safe to show.
pub(super) fn sentence(error: &dyn Error) -> String {
    visible(reasons(error).as_bytes()).into_owned()
}

/// An error and its reasons, as they come.
pub(super) fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text += &format!(": {reason}");
        source = reason.source();
    }
    text
}

/// How it ends when this was written to standard output.
pub(super) fn written(result: io::Result<()>) -> process::ExitCode {
    ended("ftserve", result).into()
}

/// The same, of either program.
pub(super) fn ended(program: &str, written: io::Result<()>) -> ExitCode {
    match written.and_then(|()| standard_output().flush()) {
        Ok(()) => ExitCode::Success,
        Err(error) => unwritten(program, &error),
    }
}

/// How it ends when standard output cannot be written. A reader that has seen enough, such as
/// a pager that was left, is no failure, and nothing is said of it.
pub(super) fn unwritten(program: &str, error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::Success;
    }
    tell(&format!(
        "{program}: cannot write to standard output: {error}"
    ));
    code_of(error)
}

/// The exit code where a local file cannot be written, or standard output.
pub(super) fn code_of(error: &io::Error) -> ExitCode {
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
    fn what_a_full_disk_does_not_take_has_a_code_of_its_own() {
        use rustix::io::Errno;
        for (errno, code) in [
            (Errno::NOSPC, ExitCode::NoSpace),
            (Errno::DQUOT, ExitCode::NoSpace),
            (Errno::FBIG, ExitCode::NoSpace),
            (Errno::IO, ExitCode::LocalFile),
            (Errno::PIPE, ExitCode::LocalFile),
        ] {
            assert_eq!(code_of(&errno.into()), code, "{errno}");
        }
    }

    #[test]
    fn a_sentence_has_every_reason_and_nothing_that_acts_on_a_terminal() {
        let error = Outer(io::Error::other("in\nner"));
        assert_eq!(sentence(&error), r"outer \x1b[2J: in\x0aner");
    }
}
