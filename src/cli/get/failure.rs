//! The exit code, the reason and the hint of each error.

use std::collections::BTreeMap;
use std::io;

use super::listed;
use crate::cli::failure::{error_chain, write_error_code};
use crate::cli::{ExitCode, visible};
use crate::client::{ClientError, ConnectError, ProtocolError, SessionError};
use crate::net::{Address, Wait};
use crate::store::{NOT_REGULAR, StageError};
use crate::wire::ErrorCode;

/// The exit code of an error, and its reason for `--json`. Only this table maps errors to codes.
pub(super) fn classify(error: &ClientError) -> (ExitCode, &str) {
    match error {
        ClientError::Connect(error) => match error {
            ConnectError::Name { .. } | ConnectError::NoneOfFamily { .. } => {
                (ExitCode::Network, "name")
            }
            ConnectError::Failed { .. } => (ExitCode::Network, "connect"),
            ConnectError::TimedOut { .. } => (ExitCode::TimedOut, "timeout"),
        },
        ClientError::Session(error) => match error {
            SessionError::CutOff(_) => (ExitCode::Network, "cut_off"),
            SessionError::Broken { .. } => (ExitCode::Network, "broken"),
            SessionError::TimedOut { .. } => (ExitCode::TimedOut, "timeout"),
        },
        ClientError::Refused(refusal)
        | ClientError::CannotList(refusal)
        | ClientError::Unlisted(refusal) => match refusal.code {
            Some(code) => (refused(code), code.as_str()),
            None => (ExitCode::Unclassified, "unknown_code"),
        },
        ClientError::Gone(_) => (ExitCode::SourcesGone, "gone"),
        ClientError::StaysInTheWay(_) => (ExitCode::LocalFile, "in_the_way"),
        ClientError::DeletesTooMuch => (ExitCode::DeleteLimit, "max_delete"),
        ClientError::EmptySource(_) => (ExitCode::DeleteLimit, "empty_source"),
        ClientError::Protocol(_) => (ExitCode::Protocol, "protocol"),
        ClientError::DigestMismatch { .. } => (ExitCode::VerificationFailed, "digest_mismatch"),
        ClientError::OtherContent { .. } => (ExitCode::VerificationFailed, "other_content"),
        ClientError::Stage(error) => match &**error {
            StageError::NoSpace { .. } | StageError::DiskFull(_) => (ExitCode::NoSpace, "no_space"),
            StageError::Exists => (ExitCode::Exists, "exists"),
            StageError::NotReplaceable(_) => (ExitCode::LocalFile, "not_replaceable"),
            StageError::Vanished => (ExitCode::LocalFile, "vanished"),
            StageError::NotADirectory { .. } => (ExitCode::LocalFile, "not_a_folder"),
            StageError::NameRefused { .. } => (ExitCode::LocalFile, "local_name"),
            StageError::Name(_) => (ExitCode::Protocol, "bad_name"),
            StageError::Directory { .. } | StageError::Io { .. } => {
                (ExitCode::LocalFile, "local_file")
            }
        },
        ClientError::Output(error) => match write_error_code(error) {
            ExitCode::NoSpace => (ExitCode::NoSpace, "no_space"),
            code => (code, "local_file"),
        },
        ClientError::ReadBack(_) => (ExitCode::LocalFile, "local_file"),
        ClientError::SameName(_) => (ExitCode::Usage, "same_name"),
        ClientError::OutOfTime => (ExitCode::TimedOut, "timeout"),
        ClientError::LocalName(_) => (ExitCode::LocalFile, "local_name"),
        ClientError::BadEntry(error) => listed::classify(&**error),
        ClientError::NoThread(_) => (ExitCode::LocalFile, "no_thread"),
        ClientError::Internal(_) => (ExitCode::Unclassified, "internal"),
    }
}

fn refused(code: ErrorCode) -> ExitCode {
    match code {
        ErrorCode::NotFound => ExitCode::NotFound,
        ErrorCode::Exists => ExitCode::Exists,
        ErrorCode::Changed => ExitCode::SourceChanged,
        ErrorCode::DigestMismatch => ExitCode::VerificationFailed,
        ErrorCode::NoSpace => ExitCode::NoSpace,
        ErrorCode::Forbidden | ErrorCode::Unauthorized => ExitCode::Permission,
        ErrorCode::ReadOnly | ErrorCode::Busy | ErrorCode::ShuttingDown | ErrorCode::TooLarge => {
            ExitCode::Refused
        }
        ErrorCode::Timeout => ExitCode::TimedOut,
        ErrorCode::IsDirectory
        | ErrorCode::NotADirectory
        | ErrorCode::NotAFile
        | ErrorCode::BadName
        | ErrorCode::BadRange => ExitCode::Usage,
        ErrorCode::BadFrame | ErrorCode::BadRequest | ErrorCode::Unsupported => ExitCode::Protocol,
        ErrorCode::Internal => ExitCode::Unclassified,
    }
}

/// A hint for an error, if there is one.
pub(super) fn hint(error: &ClientError) -> Option<&'static str> {
    match error {
        // The path of a unix socket names something else.
        ClientError::Connect(ConnectError::Failed { source, address })
            if source.kind() == io::ErrorKind::InvalidInput =>
        {
            let lacks_scope = matches!(address, Address::Tcp { host, .. }
                if host.starts_with("fe80:") && !host.contains('%'));
            lacks_scope.then_some("a link-local address needs its interface: [fe80::1%eth0]")
        }
        ClientError::Connect(ConnectError::Failed { .. } | ConnectError::TimedOut { .. }) => {
            Some("is ftserve running there?")
        }
        ClientError::Session(SessionError::Broken {
            wait: Wait::ResponseBody,
            source,
        }) if source.kind() == io::ErrorKind::ConnectionReset => Some(
            "a server resets clients slower than its --min-rate, or if the file changes; \
             the same command again continues where it stopped",
        ),
        ClientError::Connect(ConnectError::NoneOfFamily { .. }) => Some("try without -4 or -6"),
        ClientError::Protocol(ProtocolError::Wire(_)) => Some("is it ftserve that listens there?"),
        ClientError::Refused(refusal) if refusal.code == Some(ErrorCode::IsDirectory) => {
            Some("download it with -r, or list it with --list")
        }
        ClientError::Stage(error) => match &**error {
            StageError::Exists => Some("try --if-exists update, skip, overwrite or rename"),
            StageError::NoSpace { .. } | StageError::DiskFull(_) => Some(
                "free some space and run the same command again; it continues where it stopped",
            ),
            StageError::NotReplaceable(NOT_REGULAR) => Some("use -o to write to it"),
            StageError::Directory { source, .. } | StageError::Io { source, .. }
                if source.kind() == io::ErrorKind::CrossesDevices =>
            {
                Some("unmount it, or leave it out with --exclude")
            }
            StageError::NameRefused { name, .. }
                if name.iter().any(|byte| b"\"*:<>?\\|".contains(byte)) =>
            {
                Some("FAT, exFAT and NTFS allow no name with any of \" * : < > ? \\ |")
            }
            StageError::NotReplaceable(_)
            | StageError::NameRefused { .. }
            | StageError::Vanished
            | StageError::NotADirectory { .. }
            | StageError::Name(_)
            | StageError::Directory { .. }
            | StageError::Io { .. } => None,
        },
        ClientError::EmptySource(_) => {
            Some("use --max-delete all if that is right; otherwise check the server's disk")
        }
        ClientError::Connect(ConnectError::Name { .. })
        | ClientError::Session(_)
        | ClientError::Refused(_)
        | ClientError::Gone(_)
        | ClientError::CannotList(_)
        | ClientError::Protocol(_)
        | ClientError::DigestMismatch { .. }
        | ClientError::OtherContent { .. }
        | ClientError::ReadBack(_)
        | ClientError::Output(_)
        | ClientError::SameName(_)
        | ClientError::LocalName(_)
        | ClientError::BadEntry(_)
        | ClientError::NoThread(_)
        | ClientError::Internal(_)
        | ClientError::OutOfTime
        | ClientError::StaysInTheWay(_)
        | ClientError::DeletesTooMuch
        | ClientError::Unlisted(_) => None,
    }
}

/// The error and its causes in one line, escaped for a terminal.
pub(super) fn sentence(error: &ClientError) -> String {
    let mut sentence = error_chain(error);
    // It may quote a whole frame of a peer, which nobody reads.
    if let Some((end, _)) = sentence.char_indices().nth(SENTENCE_CHARS_MAX) {
        sentence.truncate(end);
        sentence.push('…');
    }
    visible(sentence.as_bytes()).into_owned()
}

/// Counts failures by exit code, and derives the exit code of the run.
#[derive(Default)]
pub(super) struct Failures {
    code: Option<ExitCode>,
    /// A code that wins over all others.
    foremost: Option<ExitCode>,
    /// The number of failures by exit code.
    causes: BTreeMap<u8, u64>,
}

impl Failures {
    /// Counts a result. [`ExitCode::Success`] is not a failure.
    pub(super) fn add(&mut self, code: ExitCode) {
        if code != ExitCode::Success {
            *self.causes.entry(code as u8).or_default() += 1;
        }
        self.code = match self.code {
            _ if code == ExitCode::Success => self.code,
            Some(other) if other != code => Some(ExitCode::SomeFailed),
            _ => Some(code),
        };
    }

    /// Makes this the exit code of the run, whatever else fails.
    pub(super) fn lead_with(&mut self, code: ExitCode) {
        self.foremost = Some(code);
    }

    /// The number of failures by exit code.
    pub(super) fn causes(&self) -> &BTreeMap<u8, u64> {
        &self.causes
    }

    /// The exit code of the run: the common one of all failures, or [`ExitCode::SomeFailed`].
    pub(super) fn code(&self) -> ExitCode {
        self.foremost.or(self.code).unwrap_or(ExitCode::Success)
    }
}

/// The longest sentence, in characters before escaping.
const SENTENCE_CHARS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::ServerRefusal;

    fn refusal(spelling: &str, message: &str) -> ClientError {
        ClientError::Refused(ServerRefusal {
            code: ErrorCode::parse(spelling),
            spelling: spelling.to_owned(),
            message: message.to_owned(),
            retry_after: None,
        })
    }

    #[test]
    fn every_code_of_the_wire_has_the_documented_exit_code() {
        let documented = [
            (11, &["not_found"][..]),
            (12, &["exists"]),
            (13, &["changed"]),
            (10, &["digest_mismatch"]),
            (9, &["no_space"]),
            (6, &["forbidden", "unauthorized"]),
            (8, &["read_only", "busy", "shutting_down", "too_large"]),
            (14, &["timeout"]),
            (
                2,
                &[
                    "is_directory",
                    "not_a_directory",
                    "not_a_file",
                    "bad_name",
                    "bad_range",
                ],
            ),
            (7, &["bad_frame", "bad_request", "unsupported"]),
            (1, &["internal"]),
        ];
        let mut seen = 0;
        for (exit_code, codes) in documented {
            for code in codes {
                let error = refusal(code, "");
                let (found, reason) = classify(&error);
                assert_eq!((found as u8, reason), (exit_code, *code));
                seen += 1;
            }
        }
        assert_eq!(seen, ErrorCode::ALL.len());
        assert_eq!(
            classify(&refusal("of_tomorrow", "")).0,
            ExitCode::Unclassified
        );
    }

    #[test]
    fn one_cause_is_the_exit_code_and_several_have_their_own() {
        let code = |codes: &[ExitCode]| {
            let mut failures = Failures::default();
            codes.iter().for_each(|code| failures.add(*code));
            failures.code()
        };
        use ExitCode::{NotFound, Permission, SomeFailed, Success};
        assert_eq!(code(&[]), Success);
        assert_eq!(code(&[Success, NotFound, Success, NotFound]), NotFound);
        assert_eq!(code(&[NotFound, Permission, NotFound]), SomeFailed);
    }

    #[test]
    fn a_sentence_has_the_cause_and_is_escaped() {
        let source = Arc::new(io::Error::other("the cause"));
        let error = ClientError::Stage(Arc::new(StageError::DiskFull(io::Error::other("full"))));
        assert_eq!(sentence(&error), "no space: full");
        assert!(sentence(&ClientError::ReadBack(source)).ends_with(": the cause"));
        let shown = sentence(&refusal("evil\u{1b}[2J", "\u{202e}\nrm -rf"));
        assert_eq!(shown, r"server says evil\x1b[2J: \u{202e}\nrm -rf");
    }

    #[test]
    fn a_sentence_that_quotes_a_peer_is_bounded() {
        let long = sentence(&refusal(&"x".repeat(60_000), ""));
        assert!(
            long.chars().count() <= SENTENCE_CHARS_MAX + 1 && long.ends_with('…'),
            "{}",
            long.len()
        );
    }
}
