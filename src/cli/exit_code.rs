//! The table of exit codes.

/// The exit code of a program. The numbers are stable (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All files are present and verified.
    Success = 0,
    /// --check found a difference, a command failed, or an error of no other kind.
    Unclassified = 1,
    /// The command line, the configuration or a list is wrong.
    Usage = 2,
    /// Local file or I/O error, or no thread available.
    LocalFile = 3,
    /// Network error: name, connection, reset, cut off; ftserve: cannot bind.
    Network = 4,
    /// TLS or identity error.
    Identity = 5,
    /// Permission refused.
    Permission = 6,
    /// Protocol violation.
    Protocol = 7,
    /// The server refused: busy, read-only, shutting down, too large.
    Refused = 8,
    /// No space left.
    NoSpace = 9,
    /// Verification failed, and nothing was put in place.
    VerificationFailed = 10,
    /// Not found.
    NotFound = 11,
    /// The file exists, and --if-exists is error.
    Exists = 12,
    /// The source kept changing.
    SourceChanged = 13,
    /// Timed out.
    TimedOut = 14,
    /// Several downloads failed for different reasons.
    SomeFailed = 23,
    /// Listed files were gone before their download; nothing else failed.
    SourcesGone = 24,
    /// --max-delete was reached, or --delete met an empty source.
    DeleteLimit = 25,
    /// `ftserve PATH -- COMMAND`: COMMAND cannot be run.
    CommandNotRun = 126,
    /// `ftserve PATH -- COMMAND`: COMMAND was not found.
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
        (ExitCode::Success, "All files are present and verified"),
        (
            ExitCode::Unclassified,
            "--check found a difference, a command failed, or an error of no other kind",
        ),
        (
            ExitCode::Usage,
            "The command line, the configuration or a list is wrong",
        ),
        (
            ExitCode::LocalFile,
            "Local file or I/O error, or no thread available",
        ),
        (
            ExitCode::Network,
            "Network error: name, connection, reset, cut off; ftserve: cannot bind",
        ),
        (ExitCode::Identity, "TLS or identity error"),
        (ExitCode::Permission, "Permission refused"),
        (ExitCode::Protocol, "Protocol violation"),
        (
            ExitCode::Refused,
            "The server refused: busy, read-only, shutting down, too large",
        ),
        (ExitCode::NoSpace, "No space left"),
        (
            ExitCode::VerificationFailed,
            "Verification failed, and nothing was put in place",
        ),
        (ExitCode::NotFound, "Not found"),
        (
            ExitCode::Exists,
            "The file exists, and --if-exists is error",
        ),
        (ExitCode::SourceChanged, "The source kept changing"),
        (ExitCode::TimedOut, "Timed out"),
        (
            ExitCode::SomeFailed,
            "Several downloads failed for different reasons",
        ),
        (
            ExitCode::SourcesGone,
            "Listed files were gone before their download; nothing else failed",
        ),
        (
            ExitCode::DeleteLimit,
            "--max-delete was reached, or --delete met an empty source",
        ),
        (
            ExitCode::CommandNotRun,
            "`ftserve PATH -- COMMAND`: COMMAND cannot be run",
        ),
        (
            ExitCode::CommandNotFound,
            "`ftserve PATH -- COMMAND`: COMMAND was not found",
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
