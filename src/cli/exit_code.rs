//! The one table of exit codes.

/// How a program ends; the numbers are a promise (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for is present and verified.
    Success = 0,
    /// Something differs (--check); a command did not end with 0; unclassified.
    Unclassified = 1,
    /// The command line, the configuration or a manifest is wrong.
    Usage = 2,
    /// A local file or I/O, or no thread to be had.
    LocalFile = 3,
    /// Name, connect, reset, cut off; ftserve: cannot bind.
    Network = 4,
    /// TLS or identity.
    Identity = 5,
    /// Permission refused.
    Permission = 6,
    /// Protocol violation.
    Protocol = 7,
    /// Server refused: busy, read-only, shutting down, too large.
    Refused = 8,
    /// No space.
    NoSpace = 9,
    /// Verification failed, nothing put in place.
    VerificationFailed = 10,
    /// Not found.
    NotFound = 11,
    /// Exists, and the policy says error.
    Exists = 12,
    /// The source kept changing.
    SourceChanged = 13,
    /// Timed out.
    TimedOut = 14,
    /// A batch of which some failed, for different reasons.
    SomeFailed = 23,
    /// A batch of which nothing failed but files that were listed and then gone.
    SourcesGone = 24,
    /// --max-delete was reached, or the source is empty, and there was more to delete.
    DeleteLimit = 25,
    /// `ftserve PATH -- COMMAND`: the command cannot be run.
    CommandNotRun = 126,
    /// `ftserve PATH -- COMMAND`: there is no such command.
    CommandNotFound = 127,
    /// The terminal was closed (SIGHUP).
    HungUp = 129,
    /// Interrupted (SIGINT).
    Interrupted = 130,
    /// Terminated (SIGTERM).
    Terminated = 143,
}

impl ExitCode {
    /// Every code with its meaning, in the order of the numbers.
    pub const TABLE: [(ExitCode, &'static str); 23] = [
        (
            ExitCode::Success,
            "Everything asked for is present and verified",
        ),
        (
            ExitCode::Unclassified,
            "Something differs (--check); a command did not end with 0; unclassified",
        ),
        (
            ExitCode::Usage,
            "The command line, the configuration or a manifest is wrong",
        ),
        (
            ExitCode::LocalFile,
            "A local file or I/O, or no thread to be had",
        ),
        (
            ExitCode::Network,
            "Name, connect, reset, cut off; ftserve: cannot bind",
        ),
        (ExitCode::Identity, "TLS or identity"),
        (ExitCode::Permission, "Permission refused"),
        (ExitCode::Protocol, "Protocol violation"),
        (
            ExitCode::Refused,
            "Server refused: busy, read-only, shutting down, too large",
        ),
        (ExitCode::NoSpace, "No space"),
        (
            ExitCode::VerificationFailed,
            "Verification failed, nothing put in place",
        ),
        (ExitCode::NotFound, "Not found"),
        (ExitCode::Exists, "Exists, and the policy says error"),
        (ExitCode::SourceChanged, "The source kept changing"),
        (ExitCode::TimedOut, "Timed out"),
        (
            ExitCode::SomeFailed,
            "A batch of which some failed, for different reasons",
        ),
        (
            ExitCode::SourcesGone,
            "A batch of which nothing failed but files that were listed and then gone",
        ),
        (
            ExitCode::DeleteLimit,
            "--max-delete was reached, or the source is empty, and there was more to delete",
        ),
        (
            ExitCode::CommandNotRun,
            "`ftserve PATH -- COMMAND`: the command cannot be run",
        ),
        (
            ExitCode::CommandNotFound,
            "`ftserve PATH -- COMMAND`: there is no such command",
        ),
        (ExitCode::HungUp, "The terminal was closed (SIGHUP)"),
        (ExitCode::Interrupted, "Interrupted (SIGINT)"),
        (ExitCode::Terminated, "Terminated (SIGTERM)"),
    ];
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        std::process::ExitCode::from(code as u8)
    }
}
